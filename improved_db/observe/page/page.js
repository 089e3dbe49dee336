"use strict";
(() => {
  const NAMES = { overview: "Overview", pool: "Pool", statements: "Statements", slow: "Slow", errors: "Errors",
    borrowed: "Borrowed", events: "Events", hosts: "Hosts" };
  const main = document.getElementById("main"), state = document.getElementById("state");
  let tabs = [], interval = 2, paused = false, points = [], timer = 0, running = false, filter = "";

  // --- elements: texts go in by textContent alone, so no text can become markup -------------------------------------

  function el(tag, attributes, ...children) {
    const svg = ["svg", "path", "line", "rect", "text", "g"].includes(tag);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined) made.append(child instanceof Node ? child : String(child));
    }
    return made;
  }

  const whole = (n) => Math.round(n).toLocaleString("en");
  const time = (s) => s === 0 ? "0" : s < 0.001 ? (s * 1e6).toFixed(0) + " µs" : s < 1 ? (s * 1e3).toPrecision(3) + " ms"
    : s < 120 ? s.toPrecision(3) + " s" : s < 7200 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(1) + " h";
  const rate = (n) => n === 0 ? "0" : n < 10 ? n.toPrecision(2) : whole(n);
  const percent = (n) => (100 * n).toFixed(n < 0.1 ? 1 : 0) + " %";
  const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
  const ago = (at) => at ? time(Math.max(Date.now() / 1000 - at, 0)) + " ago" : "";

  // --- where we are: #statements?sort=p99&open=ID -----------------------------------------------------------------

  function place() {
    const [tab, query] = location.hash.slice(1).split("?");
    return { tab: NAMES[tab] && (!tabs.length || tabs.includes(tab)) ? tab : "overview", query: new URLSearchParams(query || "") };
  }

  function go(changes) {
    const { tab, query } = place();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) query.delete(name); else query.set(name, value);
    }
    location.hash = tab + (String(query) ? "?" + query : "");
  }

  // --- charts -----------------------------------------------------------------------------------------------------

  const W = 600, H = 150, LEFT = 44, BOTTOM = 18, TOP = 8;

  function nice(top) {
    const power = Math.pow(10, Math.floor(Math.log10(top || 1)));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= top) || 1;
  }

  function chart(title, series, format) {
    const values = series.map((one) => points.map((point) => point[one.key]));
    const top = nice(Math.max(...values.flat(), 0) || 1);
    const first = points.length ? points[0].at : 0, last = points.length ? points[points.length - 1].at : 1;
    const x = (at) => LEFT + (W - LEFT - 6) * (at - first) / (last - first || 1);
    const y = (value) => TOP + (H - TOP - BOTTOM) * (1 - value / top);
    const line = (all) => all.map((value, at) => (at ? "L" : "M") + x(points[at].at).toFixed(1) + " " + y(value).toFixed(1)).join("");
    const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
    for (const part of [0, 0.5, 1]) {
      svg.append(el("line", { class: "grid", x1: LEFT, x2: W - 6, y1: y(top * part), y2: y(top * part) }),
        el("text", { x: LEFT - 5, y: y(top * part) + 3, "text-anchor": "end" }, format(top * part)));
    }
    if (points.length) {
      svg.append(el("text", { x: LEFT, y: H - 4 }, clock(first)), el("text", { x: W - 6, y: H - 4, "text-anchor": "end" }, clock(last)));
      svg.append(el("path", { class: "area", d: line(values[0]) + `L${x(last).toFixed(1)} ${y(0)}L${LEFT} ${y(0)}Z` }));
      values.forEach((all, at) => svg.append(el("path", { class: `line s${at}`, d: line(all) })));
    }
    const shown = series.map(() => el("b", {}, ""));
    const show = (at) => shown.forEach((one, number) => { one.textContent = points.length ? " " + format(values[number][at]) : ""; });
    show(points.length - 1);
    const cross = el("line", { class: "cross", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
    svg.append(cross);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), at = first + ((event.clientX - box.left) / box.width * W - LEFT) / (W - LEFT - 6) * (last - first);
      let near = 0;
      points.forEach((point, number) => { if (Math.abs(point.at - at) < Math.abs(points[near].at - at)) near = number; });
      if (!points.length) return;
      cross.setAttribute("x1", x(points[near].at)); cross.setAttribute("x2", x(points[near].at));
      cross.setAttribute("visibility", "visible");
      show(near);
    });
    svg.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); show(points.length - 1); });
    const legend = series.map((one, at) => el("span", {}, el("i", { class: `s${at}` }), one.name, shown[at]));
    return el("section", { class: "card chart" }, el("h3", {}, title), svg, el("div", { class: "legend" }, legend));
  }

  function bars(histogram) {
    const most = Math.max(...histogram.map((bin) => bin[1]), 1), height = 14;
    const svg = el("svg", { viewBox: `0 0 ${W / 2} ${histogram.length * height}`, role: "img", "aria-label": "Durations" });
    histogram.forEach(([bound, count], at) => {
      const label = bound === null ? "longer" : "≤ " + time(bound / 1000);
      svg.append(el("text", { x: 58, y: at * height + 10, "text-anchor": "end" }, label),
        el("rect", { class: "bar", x: 64, y: at * height + 2, width: Math.max(170 * count / most, 1).toFixed(1), height: height - 4 }),
        el("text", { x: 70 + 170 * count / most, y: at * height + 10 }, whole(count)));
    });
    return svg;
  }

  // --- tables -----------------------------------------------------------------------------------------------------

  function table(columns, rows, { sort, open } = {}) {
    const { query } = place();
    const key = query.get("sort") || sort, up = query.get("up") === "1";
    const chosen = columns.find((column) => column.key === key);
    if (chosen) {
      const value = chosen.value || ((row) => row[chosen.key]);
      rows = [...rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        return (up ? 1 : -1) * (typeof a === "string" ? a.localeCompare(b) : (a || 0) - (b || 0));
      });
    }
    const heads = columns.map((column) => {
      const mine = column.key === key;
      return el("th", { class: column.text ? null : "n", title: column.tip, "aria-sort": mine ? (up ? "ascending" : "descending") : null },
        el("button", { type: "button", click: () => go({ sort: column.key, up: mine && !up ? "1" : null }) }, column.title));
    });
    const body = rows.flatMap((row) => {
      const cells = columns.map((column) => {
        const shown = column.show ? column.show(row) : row[column.key];
        return el("td", { class: (column.text ? "" : "n") + (column.bad && row[column.key] ? " bad" : "") }, shown);
      });
      const isOpen = open && query.get("open") === row.id;
      const toggle = () => go({ open: isOpen ? null : row.id });
      const line = el("tr", open ? { class: isOpen ? "link open" : "link", tabindex: 0, click: toggle,
        keydown: (event) => { if (event.key === "Enter") toggle(); } } : {}, cells);
      return isOpen ? [line, el("tr", { class: "open" }, el("td", { colspan: columns.length }, open(row)))] : [line];
    });
    return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, body)));
  }

  const text = (key, title, more) => ({ key, title, text: true, ...more });
  const count = (key, title, more) => ({ key, title, show: (row) => whole(row[key] || 0), ...more });
  const seconds = (key, title, more) => ({ key, title, show: (row) => time(row[key] || 0), ...more });
  const nothing = (what) => el("p", { class: "soft" }, what);

  // --- tabs -------------------------------------------------------------------------------------------------------

  async function get(name) {
    const answer = await fetch("data/" + name, { headers: { Accept: "application/json" } });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  const tile = (name, value, tip) => el("div", { class: "card tile", title: tip }, el("b", {}, value), el("span", {}, name));

  const views = {
    async overview(told) {
      const last = points[points.length - 1] || { calls: 0, p99: 0, errors: 0, retries: 0 }, pool = told.pool;
      return [
        told.wrong.length ? told.wrong.map((line) => el("div", { class: "card wrong" }, line))
          : el("div", { class: "card fine" }, "Nothing is wrong now."),
        el("div", { class: "tiles" },
          pool ? tile("connections in use", `${pool.used} of ${pool.max_size}`) : null,
          pool ? tile("callers wait", whole(pool.waiting)) : null,
          tile("calls a second", rate(last.calls)), tile("99 of 100 took at most", time(last.p99)),
          tile("errors a second", rate(last.errors)), tile("retries a second", rate(last.retries)),
          tile("slow calls", whole(told.slow || 0)), tile("unknown outcomes", whole(told.unknown || 0))),
        el("div", { class: "charts" },
          chart("Connections and callers that wait", [{ key: "used", name: "in use" }, { key: "idle", name: "idle" }, { key: "waiting", name: "waiting" }], rate),
          chart("Calls a second", [{ key: "calls", name: "calls" }], rate),
          chart("How long calls take", [{ key: "p50", name: "half" }, { key: "p99", name: "99 of 100" }], time),
          chart("Errors and retries a second", [{ key: "errors", name: "errors" }, { key: "retries", name: "retries" }], rate)),
      ];
    },
    async pool() {
      const told = await get("pool");
      return [
        el("h2", {}, "Counters"),
        table([text("name", "Counter"), { key: "value", title: "Value", show: (row) => Number.isInteger(row.value) ? whole(row.value) : row.value.toFixed(3) }, text("meaning", "Meaning")], told.counters),
        el("h2", {}, "Connections closed, by reason"),
        told.closed.length ? table([text("reason", "Reason"), text("kind", "Kind"), count("connections", "Connections")], told.closed) : nothing("None was closed."),
        el("h2", {}, "Settings"),
        told.settings.length ? table([text("name", "Setting"), text("value", "Value"), text("source", "Source"), text("meaning", "Meaning")], told.settings) : nothing("Settings are shown by the processes themselves."),
      ];
    },
    async statements() {
      const { query } = place(), open = query.get("open");
      const [told, detail] = await Promise.all([get("statements"), open ? get("statements/" + encodeURIComponent(open)).catch(() => null) : null]);
      const rows = told.statements.filter((row) => (row.digest || row.summary).toLowerCase().includes(filter.toLowerCase()));
      const columns = [
        { key: "share", title: "Share", tip: "part of the run time of all statements", show: (row) => [el("progress", { max: 1, value: row.share }), " " + percent(row.share)] },
        text("digest", "Statement", { show: (row) => el("code", {}, row.digest || row.summary) }),
        count("calls", "Calls"), seconds("mean", "Mean"), seconds("p50", "p50"), seconds("p99", "p99"),
        { key: "wait_share", title: "Wait", tip: "part of its time that it waited for a connection", show: (row) => percent(row.wait_share) },
        { key: "rows", title: "Rows/call", value: (row) => row.rows / (row.calls || 1), show: (row) => rate(row.rows / (row.calls || 1)) },
        count("errors", "Errors", { bad: true }), count("retries", "Retries"), count("slow", "Slow"),
        { key: "last_at", title: "Last", show: (row) => ago(row.last_at) },
      ].filter((column) => !rows.length || column.key in rows[0]);
      const notes = [told.since ? `counted since ${clock(told.since)}` : null, told.purged ? `${whole(told.purged)} forms were dropped; their calls are in the rows (rest)` : null,
        told.unread ? "new texts come too fast and are not read in this second" : null].filter(Boolean).join(" · ");
      const input = el("input", { type: "search", placeholder: "filter", "aria-label": "Filter", value: filter,
        input: (event) => { filter = event.target.value; draw(); } });
      return [input, el("p", { class: "soft" }, notes), table(columns, rows, { sort: "share", open: "places" in (rows[0] || {}) ? (row) => details(row, detail) : null })];
    },
    async slow() {
      const told = await get("slow");
      const rows = told.map((event) => ({ ...event.details, at: event.at, times: event.times }));
      return rows.length ? table([{ key: "at", title: "When", show: (row) => clock(row.at) }, seconds("seconds", "Took"), seconds("wait", "Wait"), seconds("run", "Run"),
        count("rows", "Rows"), count("attempts", "Attempts"), count("times", "Times"), text("digest", "Statement", { show: (row) => el("code", {}, row.digest) }),
        text("place", "Place", { show: (row) => el("code", {}, row.place) })], rows, { sort: "at" }) : nothing("No call was slow.");
    },
    async errors() {
      const told = await get("errors");
      return told.length ? table([text("verdict", "Verdict"), text("code", "Code"), count("calls", "Calls", { bad: true }), text("means", "What is known"), text("reason", "Error")], told)
        : nothing("No call has failed.");
    },
    async borrowed() {
      const told = await get("borrowed");
      return told.length ? table([text("thread", "Thread"), seconds("seconds", "For"), { key: "connection", title: "Connection", tip: "the server's number of it" },
        text("statement", "Statement now", { show: (row) => el("code", {}, row.statement) }),
        text("stack", "Where the thread is", { show: (row) => el("details", { open: true }, el("summary", {}, row.place || "stack"), el("pre", {}, row.stack.join("\n"))) })], told, { sort: "seconds" })
        : nothing("No connection is out.");
    },
    async hosts() {
      const told = await get("hosts");
      return table([text("host", "Server"), text("role", "Role"), text("state", "State"), text("why", "Why"),
        { key: "lag", title: "Behind", tip: "how far it is behind the primary", show: (row) => row.lag === null ? "?" : time(row.lag) },
        { key: "rtt", title: "Answer", tip: "how long its last answer took", show: (row) => row.rtt === null ? "?" : time(row.rtt) },
        count("in_use", "In use"), count("idle", "Idle"), count("waiting", "Wait"), count("served", "Served"),
        count("failures", "Failures", { bad: true }), seconds("ejected_for", "Ejected for")], told, {});
    },
    async events() {
      const told = await get("events");
      const shown = (event) => Object.entries(event.details).map(([name, value]) => `${name}=${value}`).join("  ");
      return told.length ? table([{ key: "at", title: "When", show: (row) => clock(row.at) }, text("kind", "Event"), count("times", "Times"),
        text("details", "Details", { show: (row) => el("code", {}, shown(row)) })], [...told].reverse(), {}) : nothing("Nothing has happened.");
    },
  };

  function details(row, told) {
    if (!told) return nothing("Nothing more is known about this statement.");
    const list = (title, found) => Object.keys(found).length ? [el("h3", {}, title), el("pre", {}, Object.entries(found).map(([name, n]) => `${name}: ${n}`).join("\n"))] : [];
    return el("div", { class: "detail" },
      el("div", {}, el("h3", {}, "Durations"), bars(told.histogram)),
      el("div", {}, el("h3", {}, "Called from"), el("pre", {}, told.places.join("\n") || "not seen yet"),
        list("Errors by code", told.errors_by_code), list("Errors by verdict", told.errors_by_verdict), list("Retries by verdict", told.retries_by_verdict),
        el("p", { class: "soft" }, `longest ${time(told.longest)}, ${ago(told.longest_at)}; id ${told.id}; ${told.texts > 99 ? "many" : told.texts} texts`),
        told.explain ? [el("h3", {}, "To copy"), el("pre", {}, told.explain)] : []));
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  async function draw() {
    if (running) return;
    running = true;
    try {
      const after = points.length ? Math.ceil(points[points.length - 1].at * 1000) : 0;
      const [told, more] = await Promise.all([get("overview"), get("history?after=" + after)]);
      points = points.concat(more).slice(-1000);
      tabs = told.tabs;
      interval = told.interval;
      const { tab } = place();
      const parts = (await views[tab](told)).flat();
      document.title = `${NAMES[tab]} · ${told.title}`;
      document.getElementById("title").textContent = told.title;
      document.getElementById("about").textContent = [told.server, told.driver].filter(Boolean).join(" · ");
      document.getElementById("tabs").replaceChildren(...tabs.map((name) => el("a", { href: "#" + name, "aria-current": name === tab ? "page" : null }, NAMES[name])));
      const focused = document.activeElement && document.activeElement.type === "search" ? document.activeElement.selectionStart : -1;
      main.replaceChildren(...parts);
      if (focused >= 0 && main.querySelector("input")) {
        main.querySelector("input").focus();
        main.querySelector("input").setSelectionRange(focused, focused);
      }
      state.textContent = paused ? "paused" : "live";
      state.className = paused ? "" : "live";
    } catch (error) {
      state.textContent = error instanceof TypeError ? "the program does not answer" : error.message;
      state.className = "lost";
    } finally {
      running = false;
    }
  }

  function tick() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    draw().then(() => { timer = setTimeout(tick, Math.max(interval, 1) * 1000); });
  }

  document.getElementById("pause").addEventListener("click", (event) => {
    paused = !paused;
    event.target.setAttribute("aria-pressed", String(paused));
    event.target.textContent = paused ? "Go on" : "Pause";
    state.textContent = paused ? "paused" : "live";
    tick();
  });
  addEventListener("hashchange", draw);
  document.addEventListener("visibilitychange", tick);
  tick();
})();
