const startedAt = Date.now();

/** A page for browsers, plain text for everybody else; `?name=` says who is greeted. */
module.exports = async (event, context) => {
  const name = String(event.query.name || "world").slice(0, 80);
  const greeting = `${process.env.greeting}, ${name}!`;
  const facts = {
    method: event.method,
    path: event.path,
    node: process.version,
    up: `${Math.round((Date.now() - startedAt) / 1000)} s`,
  };
  const wanted = event.headers.accept || "";
  if (wanted.includes("text/html")) {
    return context
      .status(200)
      .headers({ "content-type": "text/html; charset=utf-8" })
      .succeed(page(greeting, facts));
  }
  if (wanted.includes("application/json")) return context.status(200).succeed({ greeting, ...facts });
  return context
    .status(200)
    .headers({ "content-type": "text/plain; charset=utf-8" })
    .succeed(`${greeting}\n`);
};

function page(greeting, facts) {
  const rows = Object.entries(facts).map(([name, value]) => `<dt>${name}</dt><dd>${escapeHtml(value)}</dd>`);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(greeting)}</title>
<style>
  :root { color-scheme: light dark; font: 1.1rem/1.6 system-ui, sans-serif; }
  body { max-width: 36rem; margin: 18vh auto 0; padding: 0 1.5rem; }
  h1 { font-size: 2.6rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
  code, input, button { font: inherit; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1.5rem; margin: 2rem 0; font-size: .9rem; }
  dt { opacity: .6; } dd { margin: 0; overflow-wrap: anywhere; }
</style>
<h1>${escapeHtml(greeting)}</h1>
<p>This function was built and started by a <code>git push</code>. Change <code>hello/handler.js</code>, push again,
and this page changes.</p>
<form><label>Your name <input name="name" maxlength="80" autofocus></label> <button>Greet me</button></form>
<dl>${rows.join("")}</dl>
</html>
`;
}

function escapeHtml(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (character) => entities[character]);
}
