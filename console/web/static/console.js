// Keys, countdowns and live numbers. Every page works without it.
"use strict";
(() => {
  const body = document.body;
  const csrf = body.dataset.csrf;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const say = (words) => { one("#said").textContent = words; };

  // ---- what was typed outlives an expired session and a lost network, in this tab ------------
  // Of each flag its own, under the name of whoever wrote it.
  const DRAFT = "deadpan note ";
  const OURS = `${DRAFT}${body.dataset.me} `;
  const drafts = () => Object.keys(sessionStorage).filter((key) => key.startsWith(DRAFT));
  const forget = (keys) => keys.forEach((key) => sessionStorage.removeItem(key));
  const note = one("[data-note]");
  if (one("[data-draft]")) one("[data-draft]").hidden = drafts().length === 0;
  if (!csrf) return;
  const done = one("[data-done]");
  // What a page holds from the start is not read aloud as news.
  if (done) setTimeout(() => say(one("p", done).textContent.trim()), 300);
  // Somebody else sat here before.
  forget(drafts().filter((key) => !key.startsWith(OURS)));
  const ended = done ? done.dataset.done.split(" ") : [];
  const skipped = new URLSearchParams(location.search).get("skipped");
  if (skipped) ended.push(`/reviews/${skipped}`);
  // A second look whose page asks for nothing any more has its vote.
  if (!note && location.pathname.startsWith("/reviews/")) ended.push(location.pathname);
  forget(ended.map((path) => OURS + path));
  // Who signs out in one tab leaves nothing in the others.
  const OUT = "deadpan signed out";
  window.addEventListener("storage", (event) => { if (event.key === OUT) { forget(drafts()); if (note) note.value = ""; } });
  if (note) {
    // Where a decision was refused, the address of its page ends in what was asked.
    const key = OURS + note.form.getAttribute("action").replace(/\/\w+$/, "");
    const kept = sessionStorage.getItem(key);
    if (kept && !note.value) { note.value = kept; say("your unsaved note has been restored"); }
    note.addEventListener("input", () => { if (note.value) sessionStorage.setItem(key, note.value); else sessionStorage.removeItem(key); });
  }

  const trouble = one("#trouble");
  const offline = () => { trouble.textContent = "You are offline. Nothing was sent; try again when you are back online."; trouble.hidden = false; };
  window.addEventListener("online", () => { trouble.hidden = true; });

  // A form that is sent twice by a double click is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    // What was held back, to ask for a reason first, was not sent.
    if (form.method !== "post" || event.defaultPrevented) return;
    // The browser's own page about a missing network would take the place of what was typed.
    if (!navigator.onLine) { event.preventDefault(); offline(); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.getAttribute("action") === "/sign-out") { forget(drafts()); localStorage.setItem(OUT, Date.now()); }
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; }, 5000);
  });
  // Back to a page that the browser kept in memory: ask the server what has become of it.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // ---- live numbers ------------------------------------------------------------------------
  const live = one("[data-live]");
  const spaced = (number) => number.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const atFirst = live ? Number(live.textContent.replace(/\D/g, "")) : 0;
  // An empty list asks more often, and is read again as soon as there is something for it.
  const fills = one("[data-fills]");
  // What is open and not for whoever looks, such as what they judge a second time, is no reason to.
  let fewest = fills ? Number(fills.dataset.counted) : 0;
  const untouched = () => !all("input", one(".filters")).some((field) => field === document.activeElement || field.value !== field.defaultValue);
  const count = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(fills ? "/counts?judging=true" : "/counts", { headers: { Accept: "application/json" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) return;
      const now = await answer.json();
      live.textContent = spaced(now.open);
      live.title = "";
      all("[data-live-queue]").forEach((place) => { place.textContent = spaced((now.queues[place.dataset.liveQueue] || { open: 0 }).open); });
      const fresh = one("[data-fresh]");
      if (fresh && fresh.hidden && now.open > atFirst) say("new flags have arrived");
      if (fresh) fresh.hidden = now.open <= atFirst;
      if (!fills) return;
      const here = fills.dataset.fills ? (now.queues[fills.dataset.fills] || { open: 0 }).open : now.open;
      if (here > fewest && untouched()) { location.replace(one("[data-fresh] a").href); return; }
      fewest = Math.min(fewest, here);
      one("[data-judging]").hidden = !now.judging;
      one("[data-quiet]").hidden = now.judging;
    } catch { live.title = "offline: this number may be out of date"; }
  };
  if (live) setInterval(count, fills ? 2000 : 10000);

  // ---- what runs out: undo, and the claim --------------------------------------------------
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  all("[data-undo]").forEach((form) => {
    const end = performance.now() + Number(form.dataset.seconds) * 1000;
    const left = one("[data-left]", form);
    const tick = () => {
      const seconds = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      left.textContent = `${seconds} s`;
      if (seconds === 0) { one("button", form).disabled = true; clearInterval(timer); }
    };
    const timer = setInterval(tick, 1000);
    tick();
  });
  // What was promised, in the same words as the server's.
  all("[data-due]").forEach((place) => {
    const at = Date.parse(place.dateTime);
    const tick = () => {
      const minutes = Math.max(1, Math.floor(Math.abs(at - Date.now()) / 60000));
      const lasts = minutes >= 1440 ? `${Math.floor(minutes / 1440)} d` : minutes >= 60 ? `${Math.floor(minutes / 60)} h` : `${minutes} min`;
      const late = at <= Date.now();
      place.classList.toggle("late", late);
      place.textContent = late ? `${lasts} overdue` : `due in ${lasts}`;
    };
    setInterval(tick, 30000);
  });
  const held = one("[data-countdown]");
  if (held) {
    const lease = { end: performance.now() + Number(held.dataset.seconds) * 1000, length: Number(held.dataset.seconds) };
    let active = false;
    let asking = false;
    let warned = false;
    ["keydown", "pointerdown", "pointermove", "scroll", "input"].forEach((name) =>
      document.addEventListener(name, () => { active = true; }, { passive: true, capture: true }));
    const renew = async () => {
      asking = true;
      active = false;
      try {
        const answer = await fetch(held.dataset.renew, { method: "POST", headers: { "X-CSRF-Token": csrf, Accept: "application/json" } });
        const said = await answer.json();
        if (answer.ok) {
          lease.length = said.seconds;
          lease.end = performance.now() + said.seconds * 1000;
        } else if (answer.status === 409) {
          lost(said.detail);
        }
      } catch { /* offline: the next tick tries again */ }
      asking = false;
    };
    const lost = (words) => {
      clearInterval(timer);
      held.classList.add("late");
      held.textContent = "No longer claimed by you";
      const over = one("[data-over]");
      if (over) { over.textContent = `${words[0].toUpperCase()}${words.slice(1)}.`; over.hidden = false; }
      say(words);
    };
    const tick = () => {
      const seconds = Math.ceil((lease.end - performance.now()) / 1000);
      one("[data-left]", held).textContent = clock(Math.max(0, seconds));
      held.classList.toggle("late", seconds <= 30);
      // Said once, half a minute before, and not each second.
      if (seconds <= 30 && seconds > 0 && !warned) say(`your claim expires in ${seconds} seconds; press any key to keep it`);
      warned = seconds <= 30;
      const over = one("[data-over]");
      if (over) over.hidden = seconds > 0;
      if (active && !asking && seconds < lease.length * 0.8) renew();
    };
    const timer = setInterval(tick, 1000);
  }

  // ---- the thread --------------------------------------------------------------------------
  // Asked for when the page is there: a slow platform holds up nobody.
  const thread = one("[data-thread]");
  if (thread && thread.dataset.thread) {
    const link = one("[data-load]", thread);
    const first = one("[data-first]", thread);
    if (first) first.hidden = true;
    else if (link) link.textContent = "· asking the platform…";
    fetch(thread.dataset.thread, { headers: { Accept: "text/html" } })
      .then((answer) => (answer.ok ? answer.text() : Promise.reject()))
      .then((html) => {
        const part = document.createElement("template");
        part.innerHTML = html;
        thread.replaceWith(part.content);
      })
      .catch(() => { if (link) { link.textContent = "Show the thread"; if (first) first.hidden = false; } });
  }

  // ---- pictures ----------------------------------------------------------------------------
  const pictures = one("[data-pictures]");
  const toggle = one("[data-toggle-pictures]");
  let shown = pictures && pictures.dataset.pictures === "show";
  const mode = pictures && (shown ? "blur" : pictures.dataset.pictures);
  const figures = pictures ? all("figure", pictures) : [];
  const uncover = (figure, wanted) => {
    const old = one(".picture", figure);
    const image = old.tagName === "IMG" ? old : Object.assign(new Image(old.getAttribute("width"), old.getAttribute("height")), { className: "picture" });
    const kind = wanted ? "full" : mode === "grey" ? "grey" : "blur";
    const number = figure.dataset.number;
    image.src = `/evidence/${figure.dataset.sha}?as=${kind}`;
    image.alt = `Picture ${number} of the post${wanted ? "" : ", covered"}`;
    if (image !== old) old.replaceWith(image);
    figure.className = wanted ? "show" : kind;
    const button = one("[data-one]", figure);
    if (button) { button.textContent = wanted ? "Cover" : "Show"; button.setAttribute("aria-label", `${button.textContent} picture ${number}`); }
  };
  const label = () => {
    shown = figures.every((figure) => figure.classList.contains("show"));
    toggle.firstChild.textContent = `${shown ? "Cover" : "Show"} ${figures.length === 1 ? "picture" : shown ? "pictures" : `all ${figures.length} pictures`} `;
  };
  const showPictures = () => {
    const wanted = !shown;
    figures.forEach((figure) => { if (figure.classList.contains("show") !== wanted) uncover(figure, wanted); });
    label();
    say(wanted ? "pictures shown" : "pictures covered");
  };
  all("[data-one]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      const figure = button.closest("figure");
      uncover(figure, !figure.classList.contains("show"));
      label();
    });
  });
  if (toggle) toggle.hidden = false;
  if (toggle) toggle.addEventListener("click", (event) => { event.preventDefault(); showPictures(); });
  // Looked for when it is pressed: it may come with an explanation.
  const marks = () => {
    const on = pictures.classList.toggle("marked");
    one("[data-mark]").setAttribute("aria-pressed", String(on));
  };
  const offerMarks = () => {
    const mark = one("[data-mark]");
    if (mark) { mark.hidden = false; mark.addEventListener("click", marks); }
  };
  offerMarks();

  // ---- what is still being explained -------------------------------------------------------
  const explaining = one("[data-explaining]");
  const PATIENCE = 60000;
  // Only what an explanation says is replaced: what was typed, chosen and uncovered stays.
  const showExplanation = async () => {
    const answer = await fetch(explaining.dataset.explaining.replace(/\/explanation$/, ""), { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    all("[data-explained]").forEach((old) => { const now = one(`#${old.id}[data-explained]`, fresh); if (now) old.replaceWith(document.adoptNode(now)); });
    figures.forEach((figure) => {
      const regions = one(`figure[data-number="${figure.dataset.number}"] .regions`, fresh);
      if (regions && !one(".regions", figure)) one(".frame", figure).append(document.adoptNode(regions));
    });
    offerMarks();
    say(one(".unseen", one("#read")) ? "the score could not be explained" : "what moved the score is explained now");
  };
  if (explaining) {
    const began = performance.now();
    const look = async () => {
      const waited = performance.now() - began;
      try {
        if (!document.hidden) {
          const answer = await fetch(explaining.dataset.explaining, { headers: { Accept: "application/json" } });
          if (answer.ok && (await answer.json()).state !== "pending") { await showExplanation(); return; }
        }
      } catch { /* offline: asked again below */ }
      if (waited > PATIENCE) one("[data-waits]", explaining).textContent = "Still being explained: no worker has had the time yet. What moved the score will appear here.";
      setTimeout(look, waited > PATIENCE ? 10000 : 1000);
    };
    setTimeout(look, 500);
  }

  // ---- selection ---------------------------------------------------------------------------
  const ticks = all("[data-tick]");
  const everything = one("[data-all]");
  const selected = one("[data-selected]");
  const chosen = () => {
    const number = ticks.filter((box) => box.checked).length;
    selected.textContent = number ? `${number} selected` : "Select all on this page";
    everything.checked = number === ticks.length;
    everything.indeterminate = number > 0 && number < ticks.length;
    all(".bulk button").forEach((button) => { button.disabled = number === 0; });
  };
  const bulkReason = one("select[data-reason]");
  let begun = null;
  const number = (key) => {
    const option = bulkReason.options[Number(key)];
    if (!option || !ticks.some((box) => box.checked)) return false;
    bulkReason.value = option.value;
    bulkReason.dispatchEvent(new Event("change"));
    say(`reason: ${option.text}`);
    if (begun) begun.form.requestSubmit(begun);
    return true;
  };
  if (everything) {
    everything.hidden = false;
    everything.addEventListener("change", () => { ticks.forEach((box) => { box.checked = everything.checked; }); chosen(); });
    ticks.forEach((box) => box.addEventListener("change", chosen));
    chosen();
    // Asked for here, where the selection is, and not on a page of its own.
    const reason = bulkReason;
    const needed = (is) => { reason.toggleAttribute("required", is); if (is) { reason.reportValidity(); reason.focus(); } };
    reason.addEventListener("change", () => needed(false));
    reason.addEventListener("keydown", (event) => { if (/^[1-9]$/.test(event.key) && body.dataset.keys !== "off" && number(event.key)) event.preventDefault(); });
    reason.form.addEventListener("submit", (event) => {
      if (event.submitter && "needsReason" in event.submitter.dataset && !reason.value) { event.preventDefault(); begun = event.submitter; needed(true); say(`choose a reason to ${event.submitter.value}, with 1 to 9`); }
    });
  }

  // ---- keys --------------------------------------------------------------------------------
  const help = one("#keys");
  const helpButton = one("[data-help]");
  helpButton.hidden = false;
  helpButton.addEventListener("click", () => help.showModal());
  const rows = all("[data-row]");
  // Once, in a browser that has not been told: how to begin.
  const hint = one("[data-hint]");
  if (hint && (rows.length || one("[data-decide]")) && !localStorage.getItem("deadpan hinted")) {
    hint.hidden = false;
    one("button", hint).addEventListener("click", () => { hint.hidden = true; localStorage.setItem("deadpan hinted", "yes"); });
    if (done) { hint.hidden = true; localStorage.setItem("deadpan hinted", "yes"); }
  }
  const move = (step) => {
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[Math.min(rows.length - 1, Math.max(0, at === -1 ? (step > 0 ? 0 : rows.length - 1) : at + step))];
    if (row) { one("[data-open]", row).focus(); row.scrollIntoView({ block: "nearest" }); }
  };
  const decide = one("[data-decide]");
  let pending = null;
  const codes = one("#codes");
  const codeBoxes = codes ? all("input", codes) : [];
  const line = one("[data-chosen]");
  // What will be saved, before it is.
  const showReason = () => {
    const box = codeBoxes.find((each) => each.checked);
    line.hidden = !box;
    if (!box) return;
    const words = [...box.closest("label").childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()).join("");
    one("span", line).textContent = `Saved if you ${line.dataset.chosen}: ${words}. Not saved if you approve or skip.`;
  };
  const clearReason = () => {
    const had = codeBoxes.some((box) => box.checked);
    codeBoxes.forEach((box) => { box.checked = false; });
    if (had) { showReason(); say("reason cleared"); }
  };
  if (line) {
    codes.addEventListener("change", showReason);
    one("[data-clear]", line).addEventListener("click", () => { clearReason(); codeBoxes[0].focus(); });
    showReason();
  }
  const stopAsking = () => {
    pending = begun = null;
    all(".pending").forEach((button) => button.classList.remove("pending"));
    if (codes) codes.classList.remove("asked");
  };
  const ask = (button) => {
    pending = button;
    all(".pending").forEach((other) => other.classList.remove("pending"));
    button.classList.add("pending");
    codes.classList.add("asked");
    codes.scrollIntoView({ block: "nearest" });
    one("input", codes).focus();
    say(`${button.value}: choose a reason with 1 to 9`);
  };
  const send = (button) => {
    if ("needsReason" in button.dataset && !one("input:checked", codes)) { ask(button); return; }
    button.form.requestSubmit(button);
  };
  if (decide) {
    decide.addEventListener("submit", (event) => {
      const button = event.submitter;
      if (button && "needsReason" in button.dataset && !one("input:checked", codes)) {
        event.preventDefault();
        ask(button);
      }
    });
    // Enter in the list of reasons sends what was begun.
    codes.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && pending) { event.preventDefault(); const box = document.activeElement; if (box.name === "reason_code") box.checked = true; send(pending); }
    });
  }
  const press = (key) => {
    const button = one(`[data-key="${key}"]`);
    if (button && !button.disabled) { button.form === decide ? send(button) : button.form.requestSubmit(button); return true; }
    return false;
  };
  // On many keyboards the plus is above the equals sign.
  const labelOf = (key) => all("[data-label-key]").find((box) => box.dataset.labelKey === (key === "=" ? "+" : key));
  // The browser shuts them with Escape, and gives the focus back.
  const menuIsOpen = () => CSS.supports("selector(:popover-open)") && one("#places:popover-open") !== null;
  const typing = (target) => target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    if (event.key === "Escape") {
      if (help.open || menuIsOpen()) return;
      stopAsking();
      if (typing(event.target)) event.target.blur(); else clearReason();
      return;
    }
    if (typing(event.target) || body.dataset.keys === "off" || help.open || menuIsOpen()) return;
    const key = event.key;
    let done = true;
    if (key === "?") help.showModal();
    else if (key === "q") location.assign("/");
    else if (key === "/" && one("[data-search]")) one("[data-search]").focus();
    else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
    else if (key === "x") { const row = rows.find((each) => each.contains(document.activeElement)); if (row && one("[data-tick]", row)) one("[data-tick]", row).click(); }
    else if (key === "u" && one("[data-undo] button:enabled")) one("[data-undo]").requestSubmit();
    else if (key === "p" && toggle) showPictures();
    else if (key === "m" && one("[data-mark]")) marks();
    else if (key === "t" && one(".note textarea")) one(".note textarea").focus();
    else if (key === "*" && everything) everything.click();
    else if (/^[1-9]$/.test(key) && codes) {
      const box = codeBoxes[Number(key) - 1];
      if (box) { box.checked = true; box.focus(); showReason(); if (pending) send(pending); }
    } else if (/^[1-9]$/.test(key) && bulkReason) done = number(key);
    else if (labelOf(key)) {
      // Said again, it is taken back: a radio button by itself cannot be.
      const box = labelOf(key);
      box.checked = !box.checked;
      say(`${box.dataset.said}${box.checked ? "" : " cleared"}`);
    } else if (key === "n" && !one('[data-key="n"]')) location.assign("/");
    else done = press(key);
    if (done) event.preventDefault();
  });
})();
