// The API reference, generated from /openapi.json without any other source.

import { element, getJson, row } from "./elements.js";

const api = await getJson("/openapi.json");
const main = document.getElementById("api");

main.append(element("p", {}, api.info.description));
for (const { name } of api.tags) {
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([, { tags }]) => tags.includes(name)).map(([method, operation]) => [method, path, operation]));
  main.append(element("section", {}, element("h2", {}, name), ...operations.map(operationElement)));
}
const schemas = Object.entries(api.components.schemas);
main.append(element("section", {}, element("h2", {}, "schemas"), ...schemas.map(([name, schema]) =>
  element("details", { id: `schema-${name}` }, element("summary", {}, name),
    element("pre", {}, JSON.stringify(schema, null, 2))))));

function operationElement([method, path, operation]) {
  const summary = element("summary", {},
    element("code", { className: "method" }, method.toUpperCase()), " ", element("code", {}, path), ` ${operation.summary}`);
  return element("details", {}, summary, ...parts(operation));
}

function parts({ parameters = [], requestBody, responses, security }) {
  const found = [];
  if (security) found.push(element("p", {}, "Requires the admin token: ", element("code", {}, "Authorization: Bearer …")));
  if (parameters.length) found.push(table(["Parameter", "In", "Value", "Description"], parameters.map((parameter) => row(
    element("code", {}, parameter.name), parameter.required ? `${parameter.in}, required` : parameter.in, typeElement(parameter.schema), parameter.description))));
  if (requestBody) found.push(element("p", {}, "Body: ", contentElement(requestBody.content)));
  found.push(table(["Status", "Content", "Description"], Object.entries(responses).map(([status, response]) => row(
    status, contentElement(response.content), `${response.description}${headersOf(response)}`))));
  return found;
}

function headersOf({ headers = {} }) {
  return Object.entries(headers).map(([name, { description }]) => `; ${name}: ${description}`).join("");
}

function contentElement(content = {}) {
  return element("span", {}, ...Object.entries(content).flatMap(([type, { schema }]) => [`${type} `, typeElement(schema)]));
}

function typeElement(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return element("a", { href: `#schema-${name}` }, name);
  }
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return element("span", {}, ...schema.anyOf.flatMap((schema, index) => [index ? " | " : "", typeElement(schema)]));
  if (schema.type === "array") return element("span", {}, "array of ", typeElement(schema.items));
  if (schema.type === "object" && schema.properties) {
    return element("span", {}, "{ ", ...Object.entries(schema.properties).flatMap(([name, schema], index) =>
      [index ? ", " : "", `${name}: `, typeElement(schema)]), " }");
  }
  const bounds = schema.minimum === undefined ? "" : ` ${schema.minimum}–${schema.maximum}`;
  const length = schema.maxLength === undefined ? "" : ` of at most ${schema.maxLength} characters`;
  return `${schema.format ?? schema.type}${bounds}${length}`;
}

function table(names, rows) {
  const head = element("tr", {}, ...names.map((name) => element("th", {}, name)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

// Open the schema that a link points to.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target) Object.assign(target, { open: true }).scrollIntoView();
}
addEventListener("hashchange", openTarget);
