// Values as the JSON-lines contract writes them: bytes are {"$bytes": base64}, what JSON has no number for is
// {"$number": "NaN"}. Towards a page there are more tags, for what only JavaScript can say ($typed, $date, …).
import { createHash } from "node:crypto";

/** Bytes above this length are compared by checksum: both sides report them as {"$digest": …}. */
const DIGEST_ABOVE = 32 * 1024;

export const bytes = (...list) => ({ $bytes: Buffer.from(list).toString("base64") });
export const typed = (type, ...values) => ({ $typed: type, values });
/** `length` bytes that both sides can make themselves. */
export const pattern = (length, seed = 1) => ({ $pattern: { length, seed } });

export function patternBytes({ length, seed }) {
  const made = Buffer.allocUnsafe(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made[i] = state >>> 24;
  }
  return made;
}

function digest(buffer) {
  return { $digest: { length: buffer.length, sha256: createHash("sha256").update(buffer).digest("hex") } };
}

/** The value as a plain JSON-lines peer can read it: `$pattern` and `$typed` written out as `$bytes`. */
export function plain(value) {
  return rewrite(value, (tag, content, whole) => {
    if (tag === "$pattern") return { $bytes: patternBytes(content).toString("base64") };
    if (tag === "$typed") return { $bytes: typedBytes(whole).toString("base64") };
    return whole;
  });
}

/** The one form in which values are compared. */
export function canonical(value) {
  return rewrite(value, (tag, content, whole) => {
    if (tag === "$pattern") return maybeDigest(patternBytes(content));
    if (tag === "$typed") return maybeDigest(typedBytes(whole));
    if (tag === "$bytes") return maybeDigest(Buffer.from(content, "base64"));
    return whole;
  });
}

function maybeDigest(buffer) {
  return buffer.length > DIGEST_ABOVE ? digest(buffer) : { $bytes: buffer.toString("base64") };
}

function typedBytes({ $typed: type, values }) {
  const view = new globalThis[type](values);
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}

function rewrite(value, tagged) {
  if (Array.isArray(value)) return value.map((item) => rewrite(item, tagged));
  if (value === null || typeof value !== "object") return Object.is(value, -0) ? 0 : value;
  const keys = Object.keys(value);
  if (keys[0]?.startsWith("$")) return tagged(keys[0], value[keys[0]], value);
  return Object.fromEntries(keys.sort().map((key) => [key, rewrite(value[key], tagged)]));
}
