// The common keys; and this browser remembers which random sample the reviewer is looking at.

import { run } from "./page.js";
import { listen } from "./keys.js";
import "./palette.js";

const key = `swaypoint-sample:${run}`;
const here = new URLSearchParams(location.search).get("sample");
const kept = localStorage.getItem(key);
if (here) localStorage.setItem(key, here);
else if (kept) location.replace(`/progress?${new URLSearchParams({ sample: kept })}`);
document.getElementById("sample").addEventListener("click", (event) => {
  localStorage.setItem(key, new URL(event.currentTarget.href).searchParams.get("sample"));
});
document.getElementById("new-sample")?.addEventListener("click", () => localStorage.removeItem(key));
listen({});
