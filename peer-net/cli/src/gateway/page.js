// Shows /status.json, again every two seconds. Texts go in as texts, never as markup.
'use strict';

const PERIOD = 2000;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

function facts(leaf) {
  const link = leaf.link;
  const list = element('dl');
  const add = (name, value, warn = false) => list.append(
    element('div', {}, element('dt', {}, name), element('dd', warn ? { class: 'warn' } : {}, value)));
  add('Broker', leaf.broker);
  add('From the leaf', bytes(link.bytes_received));
  add('To the leaf', bytes(link.bytes_sent));
  add('Messages', `${link.messages_received} ↑ ${link.messages_sent} ↓`);
  add('Arrivals', String(leaf.arrivals));
  const worries = [['Garbage frames', link.garbage], ['Sent again', link.resends],
    ['Too long', link.too_long], ['Refused ids', link.refused_ids],
    ['Refused commands', link.refused_commands], ['Senseless', link.senseless],
    ['Stalled', link.stalled]];
  for (const [name, count] of worries) if (count > 0) add(name, String(count), true);
  return list;
}

// What somebody else chose. It is kept from the text around it, whatever characters it has.
function foreign(text) {
  return element('bdi', {}, text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd'));
}

function connection(c) {
  const who = element('span', { class: 'who' }, `${c.incoming ? '←' : '→'} `,
    c.peer ? foreign(c.peer) : 'not known yet');
  who.title = c.incoming ? 'it called the leaf' : 'the leaf called it';
  const head = element('div', { class: 'head' }, who,
    element('span', { class: `state ${c.state}` }, `${c.state} ${span(c.since)}`));
  const facts = element('p', { class: 'sub' });
  if (c.label) facts.append(foreign(c.label), ' · ');
  facts.append(`${c.messages_sent} sent (${bytes(c.bytes_sent)}) · ${c.messages_received} received (${bytes(c.bytes_received)})`);
  if (c.buffered > 0) facts.append(` · ${bytes(c.buffered)} waiting`);
  if (c.connection_id) facts.title = `connection ${c.connection_id}`;
  return element('li', {}, head, facts);
}

function card(leaf) {
  const state = leaf.present ? `here ${span(leaf.since)}`
    : leaf.arrivals > 0 ? `gone ${span(leaf.since)}` : 'not seen yet';
  const node = element('article', { class: leaf.present ? 'here' : 'away' },
    element('div', { class: 'head' }, element('h2', {}, leaf.name),
      element('span', { class: 'state' }, state)));
  const sub = element('p', { class: 'sub' });
  if (leaf.id) sub.append('id ', foreign(leaf.id), ' · ');
  sub.append(leaf.line || '—');
  node.append(sub);
  if (!leaf.present && leaf.last_end) node.append(element('p', { class: 'why' }, `Gone: ${leaf.last_end}`));
  if (leaf.arrivals > 0) node.append(facts(leaf));
  if (leaf.connections.length > 0) {
    node.append(element('ul', { class: 'connections' }, ...leaf.connections.map(connection)));
  }
  return node;
}

function show(status) {
  document.title = `Gateway: ${status.present} of ${plural(status.leaves.length, 'leaf', 'leaves')}`;
  document.getElementById('summary').textContent =
    `${status.present} of ${plural(status.leaves.length, 'leaf', 'leaves')} here` +
    ` · broker ${status.broker} · up ${span(status.uptime)}`;
  document.getElementById('leaves').replaceChildren(...status.leaves.map(card));
  const absent = document.getElementById('absent');
  absent.hidden = status.absent.length === 0;
  absent.querySelector('ul').replaceChildren(
    ...status.absent.map(({ line, reason, tries }) =>
      element('li', {}, `${line}: ${reason} (tried ${plural(tries, 'time', 'times')})`)));
  const r = status.refused;
  const words = [[r.name, 'unknown name'], [r.key, 'wrong key'], [r.limit, 'too many leaves'],
    [r.rate, 'came too often'], [r.unproven, 'no key in time'], [r.other, 'other version or memory'],
    [r.garbage, 'garbage from strangers']]
    .filter(([count]) => count > 0).map(([count, why]) => `${count} × ${why}`);
  document.getElementById('refused').textContent =
    `${plural(status.streams, 'stream', 'streams')} came over TCP. ` +
    (words.length ? `Turned away: ${words.join(', ')}.` : 'Nobody was turned away.') +
    (status.unproven ? ` ${status.unproven} without a key yet.` : '');
}

async function refresh() {
  try {
    const response = await fetch('status.json', { cache: 'no-store' });
    show(await response.json());
  } catch {
    document.getElementById('summary').textContent = 'The gateway does not answer.';
  }
  setTimeout(refresh, PERIOD);
}

refresh();
