// The page at /ui, without a build step: what is served is what is written here. What a model writes
// is put in as text, never as HTML.

import { models } from "./server.js";
import "./digits.js";
import "./chat.js";

models();
