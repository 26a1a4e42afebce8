// What the demo page and the browser tests play ads with: a player, and a client that follows VAST by the letter.
import fluidPlayer from "fluid-player";
import "fluid-player/src/css/fluidplayer.css";
import { VASTClient, VASTTracker } from "@dailymotion/vast-client";

Object.assign(globalThis, { fluidPlayer, VASTClient, VASTTracker });
