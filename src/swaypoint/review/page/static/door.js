// The one field in front of the review: a name, or the password. Without this script the form does the same,
// by loading a page.

const form = document.getElementById("door");
const problem = document.getElementById("problem");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
  const headers = { "content-type": "application/json", "x-swaypoint-csrf": csrf };
  const body = JSON.stringify({ [form.dataset.field]: document.getElementById("field").value });
  const response = await fetch(form.action, { method: "POST", headers, body }).catch(() => null);
  if (response?.ok) location.assign("/");
  else problem.textContent = (await response?.json().catch(() => null))?.error ?? "No connection to the server.";
});
