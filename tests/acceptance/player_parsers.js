// What two players find in VAST documents. Reads JSON from standard input: a list of reading tasks, each with a `tag` and
// the `documents` by URL; writes, for each, the ads that @dailymotion/vast-client and Fluid Player's own parser found.
import { VASTClient } from "@dailymotion/vast-client";
import { DOMParser, XMLSerializer } from "@xmldom/xmldom";
import fluidVast from "fluid-player/src/modules/vast.js";
import fluidUtils from "fluid-player/src/modules/utils.js";

const VMAP = "http://www.iab.net/videosuite/vmap";

const parsed = (text) => {
    const document = new DOMParser().parseFromString(text, "text/xml");
    const lists = document.getElementsByTagName("*");
    // What every browser's DOM has and this one lacks.
    Object.getPrototypeOf(lists)[Symbol.iterator] = Array.prototype[Symbol.iterator];
    for (const element of Array.from(lists)) {
        for (const attribute of Array.from(element.attributes)) {
            element.attributes[attribute.name] = attribute;
        }
    }
    return document;
};

async function readByClient(tag, documents) {
    const urlHandler = { get: async (url) => ({ xml: parsed(documents[url]), statusCode: 200, byteLength: 1 }) };
    const response = await new VASTClient().get(tag, { urlHandler, resolveAll: true, allowMultipleAds: true });
    return response.ads.map((ad) => {
        const linears = ad.creatives.filter((creative) => creative.type === "linear");
        const tracking = {};
        for (const linear of linears) {
            for (const [event, urls] of Object.entries(linear.trackingEvents)) {
                tracking[event] = [...(tracking[event] ?? []), ...urls];
            }
        }
        return {
            impressions: ad.impressionURLTemplates.map((impression) => impression.url),
            errors: ad.errorURLTemplates,
            tracking,
            clicks: linears.flatMap((linear) => linear.videoClickTrackingURLTemplates.map((click) => click.url)),
            mediaFiles: linears.flatMap((linear) => linear.mediaFiles.map((file) => file.fileURL)),
        };
    });
}

function readByFluid(tag, documents) {
    const player = {
        rollsById: { roll: {} },
        displayOptions: { vastOptions: { maxAllowedVastTagRedirects: 3, vastTimeout: 1000 } },
        debugMessage: () => undefined,
        sendRequestAsync: async (url) => ({ responseXML: parsed(documents[url]) }),
    };
    fluidUtils(player, {});
    player.sendRequestAsync = async (url) => ({ responseXML: parsed(documents[url]) });
    fluidVast(player, {});
    return new Promise((resolve) => {
        player.processUrl(tag, (pass, ads) => resolve(pass ? ads.map(asFluidReadIt) : []), "roll");
    });
}

function asFluidReadIt(ad) {
    return {
        impressions: ad.impression,
        errors: ad.errorUrl ? [ad.errorUrl] : [],
        tracking: Object.fromEntries(Object.entries(ad.tracking)),
        clicks: ad.clicktracking,
        mediaFiles: ad.mediaFileList.map((file) => file.src),
    };
}

/** The documents of a VMAP document's breaks, as its readers hand them to a player; another document is its own. */
function embedded(text) {
    const breaks = Array.from(parsed(text).getElementsByTagNameNS(VMAP, "VASTAdData"));
    const roots = breaks.map((data) => Array.from(data.childNodes).find((node) => node.nodeType === 1));
    return breaks.length ? roots.map((root) => new XMLSerializer().serializeToString(root)) : [text];
}

async function read({ tag, documents }) {
    const found = { client: [], fluid: [] };
    for (const text of embedded(documents[tag])) {
        const answers = { ...documents, [tag]: text };
        // It throws where it finds no VAST in a document.
        found.client.push(...(await readByClient(tag, answers).catch(() => [])));
        found.fluid.push(...(await readByFluid(tag, answers)));
    }
    return found;
}

async function main() {
    // Fluid Player asks whether the browser can play a media file.
    globalThis.fetch = async () => ({ ok: true, headers: new Headers({ "content-type": "video/mp4" }) });
    globalThis.document = { createElement: () => ({ canPlayType: () => "probably" }) };
    const chunks = [];
    for await (const chunk of process.stdin) {
        chunks.push(chunk);
    }
    const found = [];
    for (const task of JSON.parse(Buffer.concat(chunks))) {
        found.push(await read(task));
    }
    process.stdout.write(JSON.stringify(found));
}

main();
