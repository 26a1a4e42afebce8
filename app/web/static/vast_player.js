// A minimal player on top of vast-client, which expands macros and reports errors: plays ads before the content.

const MEDIA_ERROR = "405"; // VAST 4.2 section 2.3.6.3: the media file cannot be displayed

export async function playWithClient(stage, tagUrl, contentUrl) {
  const video = document.createElement("video");
  Object.assign(video, { controls: true, muted: true, playsInline: true });
  stage.replaceChildren(video);
  const client = new VASTClient();
  const response = await client.get(tagUrl).catch(() => ({ ads: [] }));
  const ads = response.ads.toSorted((first, second) => (first.sequence ?? 0) - (second.sequence ?? 0));
  for (const ad of ads) await playAd(video, client, ad);
  video.src = contentUrl;
  await video.play();
}

async function playAd(video, client, ad) {
  const creative = ad.creatives.find(({ type }) => type === "linear");
  const file = creative?.mediaFiles.find(({ mimeType }) => video.canPlayType(mimeType));
  if (!file) return;
  const tracker = new VASTTracker(client, ad, creative);
  tracker.load();
  const open = (url) => window.open(url, "_blank", "noopener");
  tracker.on("clickthrough", open);
  const click = () => tracker.click();
  video.addEventListener("click", click);
  await new Promise((done) => {
    video.onloadedmetadata = () => tracker.setDuration(video.duration);
    video.onplaying = () => tracker.trackImpression();
    video.ontimeupdate = () => tracker.setProgress(video.currentTime);
    video.onvolumechange = () => tracker.setMuted(video.muted);
    video.onended = () => { tracker.complete(); done(); };
    video.onerror = () => { tracker.error({ ERRORCODE: MEDIA_ERROR }); done(); };
    video.src = file.fileURL;
    video.play().catch(() => {});
  });
  video.removeEventListener("click", click);
  for (const name of ["onloadedmetadata", "onplaying", "ontimeupdate", "onvolumechange", "onended", "onerror"]) {
    video[name] = null;
  }
}
