// Elements whose content is text, so that data from a server never becomes markup.

export function element(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  Object.assign(created, attributes);
  created.append(...children);
  return created;
}

export function row(...cells) {
  return element("tr", {}, ...cells.map((cell) => element("td", {}, cell ?? "")));
}

export function fill(table, rows) {
  table.tBodies[0].replaceChildren(...rows);
}

export function bar(value, max) {
  return element("progress", { value: Number(value), max: Number(max) || 1 });
}

export async function getJson(url, options) {
  const response = await fetch(url, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? `status ${response.status}`);
  return body;
}
