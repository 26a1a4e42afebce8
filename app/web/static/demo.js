// The demo page: plays content with ads of this server, and shows the state of the server beside it.

import { bar, element, fill, getJson, row } from "./elements.js";
import { breaksOf, playWithFluid, preRoll } from "./fluid.js";
import { playWithClient } from "./vast_player.js";

const CONTENT = "/static/content.mp4";
const REFRESH_MS = 1000;
const byId = (id) => document.getElementById(id);
const form = byId("request");
const shown = { requestIds: [], sent: new Map(), campaigns: new Set() };

function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function viewer() {
  if (!sessionStorage.viewer) sessionStorage.viewer = `demo-${randomHex(4)}`;
  return sessionStorage.viewer;
}

function urlOf(path, requestId) {
  const fields = new FormData(form);
  const query = new URLSearchParams({ [fields.get("kind")]: fields.get("id"), user_id: viewer() });
  query.set("vast_version", fields.get("version"));
  if (requestId) query.set("request_id", requestId);
  return `${location.origin}${path}?${query}`;
}

function showRequest() {
  const path = form.elements.player.value === "vmap" ? "/vmap" : "/vast";
  byId("viewer").textContent = viewer();
  byId("tag").href = byId("tag").textContent = urlOf(path);
}

async function play() {
  const requestId = `demo-${randomHex(8)}`;
  const isVmap = form.elements.player.value === "vmap";
  const url = urlOf(isVmap ? "/vmap" : "/vast", requestId);
  shown.sent.clear();
  shown.requestIds = [requestId];
  const adList = isVmap ? await breaksOf(url) : preRoll(url);
  if (isVmap) shown.requestIds = adList.map(({ vastTag }) => new URL(vastTag).searchParams.get("request_id"));
  // The player repeats the request with the same request id, so it gets the same ad, and nothing is charged twice.
  await showAnswer(url);
  if (!globalThis.fluidPlayer) return;
  if (form.elements.player.value === "client") await playWithClient(byId("stage"), url, CONTENT);
  else playWithFluid(byId("stage"), CONTENT, adList);
}

async function showAnswer(url) {
  const response = await fetch(url);
  const reason = response.headers.get("X-No-Fill-Reason");
  const isProblem = response.headers.get("Content-Type").startsWith("application/problem+json");
  byId("document").textContent = await response.text();
  byId("outcome").className = response.ok && !reason ? "" : "warm";
  if (isProblem) byId("outcome").textContent = JSON.parse(byId("document").textContent).detail;
  else byId("outcome").textContent = reason ? `No ad: ${reason}` : `Served: request ${shown.requestIds.join(", ")}`;
}

async function refresh() {
  const answers = await Promise.all(
    (shown.requestIds.length ? shown.requestIds : [""]).map((requestId) =>
      getJson(`/demo/viewer?${new URLSearchParams({ user_id: viewer(), request_id: requestId })}`)),
  );
  const serves = answers.flatMap((answer) => answer.serves);
  showServes(serves);
  showBeacons(answers.flatMap((answer) => answer.beacons));
  showCaps(answers[0].caps);
  for (const { campaign_id } of [...serves, ...answers[0].caps]) shown.campaigns.add(campaign_id);
  await showBudgets().catch((error) => fill(byId("budgets"), [row(error.message)]));
}

function showServes(serves) {
  fill(byId("serves"), serves.map((serve) => row(
    String(serve.slot), serve.campaign_id, serve.creative_id ?? `from ${serve.upstream_id}`,
    `${serve.price} ${serve.currency}`, serve.billing === "serve" ? "when served" : "when seen",
  )));
}

function showBeacons(counted) {
  const rows = counted.map((beacon) => {
    const code = beacon.error_code ? ` ${beacon.error_code}` : "";
    const sent = shown.sent.get(beacon.event);
    return row(String(beacon.slot), beacon.event + code, sent ? `${sent} ×` : "",
      new Date(beacon.received_at).toLocaleTimeString());
  });
  const known = new Set(counted.map(({ event }) => event));
  for (const [event, count] of shown.sent) {
    if (!known.has(event)) rows.push(row("", event, `${count} ×`, element("span", { className: "warm" }, "not counted yet")));
  }
  fill(byId("beacons"), rows);
}

function showCaps(caps) {
  fill(byId("caps"), caps.map((cap) => row(
    cap.campaign_id, cap.window, `${Math.max(0, cap.cap - cap.count)} of ${cap.cap}`, bar(cap.count, cap.cap),
    cap.resets_at ? new Date(cap.resets_at).toLocaleString() : "never",
  )));
}

async function showBudgets() {
  const answers = await Promise.all(
    [...shown.campaigns].sort().map((id) => getJson(`/v1/campaigns/${encodeURIComponent(id)}/budget`)),
  );
  fill(byId("budgets"), answers.flatMap(({ campaign_id, periods }) => periods.map((budget) => row(
    campaign_id, budget.period, `${Number(budget.spent)} ${budget.currency}`, String(Number(budget.held)),
    String(Number(budget.limit)), bar(Number(budget.spent) + Number(budget.held), budget.limit),
  ))));
}

// Beacons that the player sends appear in the browser's resource timing entries.
function watchBeacons() {
  new PerformanceObserver((list) => {
    for (const { name } of list.getEntries()) {
      const event = /\/event\/(\w+)\?t=/.exec(name)?.[1];
      if (event) shown.sent.set(event, (shown.sent.get(event) ?? 0) + 1);
    }
  }).observe({ type: "resource" });
  performance.setResourceTimingBufferSize(10_000);
}

function start() {
  const query = new URLSearchParams(location.search);
  for (const kind of ["placement_id", "campaign_id"]) {
    if (!query.has(kind)) continue;
    form.elements.kind.value = kind;
    form.elements.id.value = query.get(kind);
  }
  byId("no-player").hidden = Boolean(globalThis.fluidPlayer);
  form.addEventListener("input", showRequest);
  form.addEventListener("submit", (event) => { event.preventDefault(); play().catch(showError); });
  byId("new-viewer").addEventListener("click", () => {
    delete sessionStorage.viewer;
    shown.requestIds = [];
    showRequest();
  });
  watchBeacons();
  showRequest();
  const keepFresh = () => refresh().catch(showError).finally(() => setTimeout(keepFresh, REFRESH_MS));
  keepFresh();
}

function showError(error) {
  byId("outcome").className = "warm";
  byId("outcome").textContent = error.message;
}

start();
