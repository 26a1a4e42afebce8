// The console, a read-only view for operators. The admin token stays in a variable of this page.

import { bar, element, fill, getJson, row } from "./elements.js";

const REFRESH_MS = 2000;
const byId = (id) => document.getElementById(id);
const PAGE = 100;
const shown = { token: null, pages: 1, errorSource: null };
const whole = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const orDash = (value, format) => (value === null || value === undefined ? "–" : format(value));

// If other machines than the server's can open this page, operational data requires the token.
function authorized() {
  return shown.token ? { headers: { Authorization: `Bearer ${shown.token}` } } : {};
}

async function refresh() {
  await Promise.all([showStats(), showMetrics(), showReadiness(), showUpstreams()]);
  if (shown.token) await showCampaigns();
  clearError("server");
}

async function showStats() {
  const stats = await getJson("/v1/stats", authorized());
  fill(byId("stats"), [
    row("Requests", whole.format(stats.total)),
    row("Filled", `${whole.format(stats.success)} (${percent.format(stats.success_rate)})`),
    row("Refused by a frequency cap", whole.format(stats.capped)),
    row("Not filled for another reason", whole.format(stats.failed)),
    row("Average latency", `${stats.avg_latency.toFixed(1)} ms`),
  ]);
}

async function showMetrics() {
  const text = await (await fetch("/metrics", authorized())).text();
  const reasons = counts(text, "adserver_requests_total", ({ outcome, reason }) =>
    (outcome === "error" ? `error ${reason}` : reason));
  const most = Math.max(...reasons.values());
  fill(byId("reasons"), sorted(reasons).map(([reason, count]) => row(reason, whole.format(count), bar(count, most))));
  const beacons = counts(text, "adserver_beacons_total", ({ outcome }) => outcome);
  fill(byId("beacons"), sorted(beacons).map(([outcome, count]) => row(outcome, whole.format(count))));
}

// The sums of one metric's samples (Prometheus text format), grouped by what `nameOf` returns for their labels.
function counts(text, metric, nameOf) {
  const found = new Map();
  for (const [, labels, value] of text.matchAll(new RegExp(`^${metric}\\{(.*)\\} (\\S+)$`, "gm"))) {
    const name = nameOf(Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text])));
    if (name) found.set(name, (found.get(name) ?? 0) + Number(value));
  }
  return found;
}

function sorted(found) {
  return [...found].filter(([, count]) => count > 0).sort(([, first], [, second]) => second - first);
}

async function showReadiness() {
  const report = await (await fetch("/readyz", authorized())).json();
  fill(byId("ready"), [
    row("Ready", report.ready ? "yes" : element("span", { className: "warm" }, "no")),
    row("Database", String(report.database)),
    row("Schema", report.schema_needed ? `${report.schema} (required: ${report.schema_needed})` : ""),
  ]);
}

async function showUpstreams() {
  const { upstreams } = await getJson("/v1/upstreams/status", authorized());
  const ms = (value) => `${Math.round(value)} ms`;
  fill(byId("upstreams"), upstreams.map(({ id, state, last_minutes: last, max_qps, quota_used }) => row(
    id, element("span", { className: state === "closed" ? "" : "warm" }, state), orDash(last.requests_per_s, (rate) => rate.toFixed(1)),
    orDash(last.p50_ms, ms), orDash(last.p95_ms, ms), orDash(last.error_rate, percent.format), orDash(last.fill_rate, percent.format),
    max_qps === null ? "no limit" : `${orDash(quota_used, percent.format)} of ${whole.format(max_qps)}/s`,
  )));
}

async function showCampaigns() {
  const campaigns = await readCampaigns();
  const budgets = await Promise.all(campaigns.map(({ id }) => getJson(`/v1/campaigns/${encodeURIComponent(id)}/budget`, authorized())));
  fill(byId("campaigns"), campaigns.flatMap((campaign, index) => rowsOf(campaign, budgets[index])));
}

async function readCampaigns() {
  const found = [];
  for (let after = "", page = 0; page < shown.pages && after !== null; page += 1) {
    const answer = await getJson(`/v1/campaigns?${new URLSearchParams({ limit: PAGE, after })}`, authorized());
    found.push(...answer.campaigns);
    after = answer.campaigns.length < PAGE ? null : answer.next_after;
    byId("more").hidden = after === null;
  }
  return found;
}

function rowsOf(campaign, { currency, spent, held, periods }) {
  const status = element("span", { className: campaign.status === "active" ? "" : "warm" }, campaign.status);
  if (!periods.length) {
    return [row(campaign.id, campaign.advertiser, status, "no budget", money(spent, currency), money(held, currency), "", "", "",
      "", "")];
  }
  return periods.map((budget, index) => row(
    ...(index ? ["", "", ""] : [campaign.id, campaign.advertiser, status]), budget.period,
    money(budget.spent, currency), money(budget.held, currency), ...limitCells(budget, currency),
    whole.format(budget.impressions), budget.impressions_limit === null ? "no limit" : whole.format(budget.impressions_limit),
  ));
}

// The cells of a limit in money: the limit, and the spent part of it as a bar and as a number.
function limitCells({ limit, percentage_spent: percentage }, currency) {
  return limit === null ? ["no limit", "", ""] : [money(limit, currency), bar(percentage, 100), `${percentage} %`];
}

function money(amount, currency) {
  return `${Number(amount).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 6 })} ${currency}`;
}

function showError(source, error) {
  shown.errorSource = source;
  byId("error").hidden = false;
  byId("error").textContent = error.message;
}

function clearError(source) {
  if (shown.errorSource === source) byId("error").hidden = true;
}

byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  Object.assign(shown, { token: event.target.elements.token.value, pages: 1 });
  event.target.reset();
  showCampaigns().then(() => clearError("token")).catch((error) => {
    shown.token = null;
    showError("token", error);
  });
});
byId("more").addEventListener("click", () => {
  shown.pages += 1;
  showCampaigns().catch((error) => showError("server", error));
});

const keepFresh = () => refresh().catch((error) => showError("server", error)).finally(() => setTimeout(keepFresh, REFRESH_MS));
keepFresh();
