// Nothing of its own: the common keys, and what still waits to be sent.

import { listen } from "./keys.js";
import "./palette.js";

listen({});
