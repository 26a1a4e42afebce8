// Fluid Player with a VAST tag, or with the ad breaks of a VMAP document.

let player = null;

export function playWithFluid(stage, contentUrl, adList) {
  player?.destroy();
  const video = document.createElement("video");
  video.id = "fluid-video";
  video.append(Object.assign(document.createElement("source"), { src: contentUrl, type: "video/mp4" }));
  stage.replaceChildren(video);
  player = fluidPlayer(video.id, {
    layoutControls: { fillToContainer: true, autoPlay: true, mute: true, allowDownload: false },
    vastOptions: { adList },
  });
  return player;
}

export function preRoll(tagUrl) {
  return [{ roll: "preRoll", vastTag: tagUrl }];
}

// The breaks of a VMAP document (VMAP 1.0.1 section 2.3) as Fluid Player's options.
export async function breaksOf(vmapUrl) {
  const text = await (await fetch(vmapUrl)).text();
  const vmap = new DOMParser().parseFromString(text, "application/xml");
  const elementsOf = (parent, name) => [...parent.getElementsByTagNameNS("http://www.iab.net/videosuite/vmap", name)];
  return elementsOf(vmap, "AdBreak").map((adBreak) => ({
    ...whenOf(adBreak.getAttribute("timeOffset")),
    vastTag: elementsOf(adBreak, "AdTagURI")[0].textContent.trim(),
  }));
}

function whenOf(timeOffset) {
  if (timeOffset === "start") return { roll: "preRoll" };
  if (timeOffset === "end") return { roll: "postRoll" };
  if (timeOffset.endsWith("%")) return { roll: "midRoll", timer: timeOffset };
  const [hours, minutes, seconds] = timeOffset.split(":").map(Number);
  return { roll: "midRoll", timer: hours * 3600 + minutes * 60 + seconds };
}
