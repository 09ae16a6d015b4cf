// The page of all questions.

import { listen } from "./keys.js";
import { remarking } from "./remarks.js";
import "./palette.js";

remarking(() => location.reload());
listen({});
