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
    ['Refused commands', link.refused_commands], ['Senseless', link.senseless]];
  for (const [name, count] of worries) if (count > 0) add(name, String(count), true);
  return list;
}

function connections(leaf) {
  const head = ['', 'to browser', 'from browser', 'waiting'];
  const table = element('table', {},
    element('thead', {}, element('tr', {}, ...head.map((text) => element('th', {}, text)))));
  const body = element('tbody');
  for (const c of leaf.connections) {
    const cells = [`${c.incoming ? '←' : '→'} ${c.number} ${c.state} ${span(c.since)}`,
      `${c.messages_sent} · ${bytes(c.bytes_sent)}`,
      `${c.messages_received} · ${bytes(c.bytes_received)}`, bytes(c.buffered)];
    body.append(element('tr', {}, ...cells.map((text) => element('td', {}, text))));
  }
  table.append(body);
  return table;
}

function card(leaf) {
  const state = leaf.present ? `here ${span(leaf.since)}`
    : leaf.arrivals > 0 ? `gone ${span(leaf.since)}` : 'not seen yet';
  const node = element('article', { class: leaf.present ? 'here' : 'away' },
    element('div', { class: 'head' }, element('h2', {}, leaf.name),
      element('span', { class: 'state' }, state)));
  const sub = [leaf.id ? `id ${leaf.id}` : '', leaf.line,
    !leaf.present && leaf.last_end ? leaf.last_end : ''].filter((text) => text);
  node.append(element('p', { class: 'sub' }, sub.join(' · ') || '—'));
  if (leaf.arrivals > 0) node.append(facts(leaf));
  if (leaf.connections.length > 0) node.append(connections(leaf));
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
    ...status.absent.map(({ line, reason }) => element('li', {}, `${line}: ${reason}`)));
  const r = status.refused;
  const words = [[r.name, 'unknown name'], [r.key, 'wrong key'], [r.limit, 'too many leaves'],
    [r.unproven, 'no key in time'], [r.other, 'other version or memory']]
    .filter(([count]) => count > 0).map(([count, why]) => `${count} × ${why}`);
  document.getElementById('refused').textContent =
    (words.length ? `Turned away: ${words.join(', ')}` : 'Nobody was turned away.') +
    (status.unproven ? ` · ${plural(status.unproven, 'stream', 'streams')} without a key yet` : '');
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
