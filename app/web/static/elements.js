// Elements from text: what comes from a server is only ever text on these pages.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
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
