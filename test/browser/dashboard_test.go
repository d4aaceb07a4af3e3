package browser

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// cellsOf counts the cells of the ring that a node's colour is on.
const cellsOf = `(name => {
	const row = [...document.querySelectorAll("table.members tbody tr")].find(r => r.querySelector("th .named")?.innerText.trim() === name);
	const tint = [...row.querySelector(".swatch").classList].find(c => c.startsWith("tint-"));
	return document.querySelectorAll(".band .cell." + tint).length;
})`

// owned is the number of partitions that the member itself says a node has.
const owned = `(async name => (await (await fetch("/admin/ring")).json()).members.find(m => m.name === name && m.state === "ready")?.partitions ?? 0)`

func row(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("table.members tbody tr")].find(r => r.querySelector("th .named")?.innerText.trim() === %q)`, name)
}

// A failover, as anyone can watch it.
func TestDashboardShowsAFailover(t *testing.T) {
	c := startCluster(t, basePort(t))
	c.busy(t, 300)
	c.put(t, "%7Balice%7D:laptop")
	p := openPage(t, c.admin(0, "/"))
	p.size(1360, 900, "light")

	p.until("the page is live", `document.body.dataset.phase === "live"`)
	p.until("all is well", `document.querySelector("#verdict").innerText === "Every session is in place"`)
	require.Equal(t, 1024, eval[int](p, `document.querySelectorAll(".band .cell:not(.tint-none)").length`))
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("node-%d", i)
		p.until(name+" is ready", row(name)+`.querySelector(".state").innerText === "ready"`)
		require.Equal(t, eval[int](p, fmt.Sprintf("%s(%q)", owned, name)), eval[int](p, fmt.Sprintf("%s(%q)", cellsOf, name)), name)
		p.until("sessions of "+name, row(name)+`.cells[3].innerText !== "0"`)
	}
	p.until("operations are counted", `parseFloat(document.querySelectorAll("#figures dd")[1].innerText) > 20`)
	p.until("everyone's events are told", `["node-1", "node-2", "node-3"].every(n => document.querySelector("#log").textContent.includes(n + " took over"))`)

	// Where is a user, and why.
	p.do(chromedp.SendKeys("#lookup-key", "{alice}:laptop"+kb.Enter))
	p.until("the way to the owner", `document.querySelector(".way")`)
	way := p.text("#lookup-answer")
	require.Regexp(t, `Tag\s+alice`, way)
	require.Regexp(t, `Slot\s+749\s`, way)
	require.Regexp(t, `Partition\s+46\s`, way)
	owner := regexp.MustCompile(`Owner\s+(node-\d)`).FindStringSubmatch(way)[1]
	successor := regexp.MustCompile(`Successor\s+(node-\d)`).FindStringSubmatch(way)[1]
	p.until("both copies are the same", `(document.querySelector(".holders").innerText.match(/\bsame\b/g) ?? []).length === 2`)
	p.until("the ring points at it", `document.querySelector(".marker").getAttribute("visibility") === "visible"`)
	p.pictures("steady")

	before := eval[int](p, fmt.Sprintf("%s(%q)", cellsOf, successor))
	p.click(fmt.Sprintf(`button[data-verb="kill"][data-node="%s"]`, owner))
	p.until("the takeover is in the ring", fmt.Sprintf("%s(%q) === 0 && %s(%q) > %d", cellsOf, owner, cellsOf, successor, before))
	p.until("the kill is in the log", fmt.Sprintf(`document.querySelector('#log [data-kind="gone"]')?.innerText.includes(%q)`, owner))
	p.until("the takeover is in the log", fmt.Sprintf(`document.querySelectorAll('#log [data-kind="claimed"]').length >= 5 && document.querySelector("#log").textContent.includes(%q)`, successor+" took over"))
	p.until("the user has moved", fmt.Sprintf(`/Owner\s+%s/.test(document.querySelector("#lookup-answer").innerText)`, successor))
	p.until("the node is shown as stopped", row(owner)+`.querySelector(".state").innerText === "stopped"`)
	p.until("the sentence says so", fmt.Sprintf(`document.querySelector("#verdict").innerText === %q`, owner+" is missing, every session is in place"))
	p.pictures("taken-over")

	p.click(fmt.Sprintf(`button[data-verb="start"][data-node="%s"]`, owner))
	p.until("the return is in the ring", fmt.Sprintf("%s(%q) > 0", cellsOf, owner))
	p.until("the return is in the log", fmt.Sprintf(`(() => {
		const told = [...document.querySelectorAll("#log li")].filter(l => l.textContent.includes(%q)).map(l => l.dataset.kind);
		return told.slice(0, told.indexOf("gone")).some(kind => ["joined", "ready"].includes(kind));
	})()`, owner))
	p.until("all is well again", `document.querySelector("#verdict").innerText === "Every session is in place"`)
	p.until("the user is back", fmt.Sprintf(`/Owner\s+%s/.test(document.querySelector("#lookup-answer").innerText)`, owner))

	p.click(`button[data-verb="pause"][data-node="node-1"]`)
	p.until("the frozen node is shown", row("node-1")+`.querySelector(".state").innerText === "paused"`)
	p.click(`button[data-verb="resume"][data-node="node-1"]`)
	p.until("it goes on", row("node-1")+`.querySelector(".state").innerText === "ready"`)
	p.click(`button[data-verb="drain"][data-node="node-3"]`)
	p.until("it has drained", `document.querySelector('#log [data-kind="left"]')`)
	p.until("it is stopped", row("node-3")+`.querySelector(".state").innerText === "stopped"`)
}

// The steps that the page shows are computed by it, and must be the member's.
func TestDashboardComputesSlotsAsTheMembersDo(t *testing.T) {
	c := startCluster(t, basePort(t)+100, "-nodes", "1", "-copies", "1")
	p := openPage(t, c.admin(1, "/"))
	p.until("the page is live", `document.body.dataset.phase === "live"`)
	wrong := eval[[]string](p, `(async () => {
		const { slotOf, partitionOf, crc16 } = await import("/assets/slot.js");
		const wrong = crc16("123456789") === 0x31c3 ? [] : ["check value"];
		for (const key of ["alice", "{alice}:laptop", "{}x", "a{b}{c}", "{", "}{", "{{a}}", "grüße", "\u{1f511}", "x".repeat(512)]) {
			const a = await (await fetch("/admin/ring?key=" + encodeURIComponent(key))).json();
			if (a.slot !== slotOf(key) || a.partition !== partitionOf(key)) wrong.push(key);
		}
		return wrong;
	})()`)
	require.Empty(t, wrong)

	// A name or a key is text, whatever is in it.
	p.do(chromedp.SendKeys("#lookup-key", `<img src=x onerror=alert(1)>{<b>}`+kb.Enter))
	p.until("the way to the owner", `document.querySelector(".way")`)
	require.Zero(t, eval[int](p, `document.querySelectorAll("#lookup-answer img, #lookup-answer b").length`))
	require.Regexp(t, `Tag\s+<b>`, p.text("#lookup-answer"))
}

// Loading, no node, an address that falls silent and comes back.
func TestDashboardSaysWhatIsWrong(t *testing.T) {
	c := startCluster(t, basePort(t)+200, "-nodes", "2")
	p := openPage(t, c.admin(0, "/"))
	p.size(1360, 900, "light")
	p.until("all is well", `document.querySelector("#verdict").innerText === "Every session is in place"`)

	for _, name := range []string{"node-1", "node-2"} {
		p.click(fmt.Sprintf(`button[data-verb="kill"][data-node="%s"]`, name))
		// Until it is drawn anew, the page may take another button from
		// under a click.
		p.until(name+" is down", fmt.Sprintf(`document.querySelector('button[data-verb="start"][data-node="%s"]')`, name))
	}
	p.until("no node is there", `document.querySelector("#verdict").innerText === "No node is in the ring"`)
	p.until("the ring is empty", `document.querySelectorAll(".band .cell.tint-none").length === 1024`)
	p.pictures("empty")
	p.click(`button[data-verb="start"][data-node="node-1"]`)
	p.until("one node is too few", `document.querySelector("#verdict").innerText === "node-2 is missing"`)

	p.expectSilence(true)
	c.order(t, 1, "kill", "router")
	p.until("the page says that nobody answers", `!document.querySelector("#banner").hidden && document.querySelector("#banner").innerText.includes("does not answer")`)
	p.pictures("disconnected")
	c.order(t, 1, "start", "router")
	p.until("the page is live again", `document.querySelector("#banner").hidden && document.body.dataset.phase === "live"`)
	p.expectSilence(false)
}

// The headline names who is missing, how many sessions are lost, and who has
// left.
func TestDashboardSaysWhatIsLost(t *testing.T) {
	c := startCluster(t, basePort(t)+500)
	for i := range 300 {
		c.put(t, fmt.Sprintf("user-%d", i))
	}
	p := openPage(t, c.admin(1, "/"))
	p.size(1360, 900, "light")
	says := func(text, tone string) string {
		return fmt.Sprintf(`new RegExp(%q).test(document.querySelector("#verdict").innerText) && document.body.dataset.tone === %q`, text, tone)
	}
	p.until("all is well", says("^Every session is in place$", "good"))
	c.order(t, 1, "drain", "node-3")
	p.until("node-3 has left", says("^node-3 has left, every session is in place$", "good"))
	c.order(t, 1, "start", "node-3")
	p.until("node-3 is back", says("^Every session is in place$", "good"))
	c.order(t, 1, "pause", "node-3")
	p.until("node-3 is frozen", says("^node-3 is missing, every session is in place$", "warn"))
	require.Contains(t, p.text("#summary-line"), "node-3 does not answer: frozen, or cut off.")
	c.order(t, 1, "resume", "node-3")
	p.until("node-3 goes on", says("^Every session is in place$", "good"))

	// Where a ring has stood for 3 s with everybody's agreement, its owners know
	// where the copies are.
	p.until("the ring has stood", `(() => {
		const told = [...document.querySelectorAll('#log time')].map(at => Date.parse(at.dateTime));
		return told.length > 0 && Date.now() - Math.max(...told) > 5000;
	})()`)
	c.order(t, 1, "kill", "node-2")
	c.order(t, 1, "kill", "node-3")
	p.until("sessions are lost", says(`^About \d+ sessions lost$`, "bad"))
	require.Contains(t, p.text("#summary-line"), "node-2 and node-3 are missing.")
	require.Contains(t, p.text("#summary-line"), "holdfast forget node-2 node-3")
	p.until("the loss is in the log", `document.querySelector('#log [data-kind="lost"]')`)
	p.pictures("lost")
	for _, name := range []string{"node-2", "node-3"} {
		resp, err := http.Post(c.admin(0, "/admin/forget?name="+name), "", nil)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	p.until("it is known", says("^1 node for 2 copies$", "warn"))
}

// By keyboard alone, and in words for those who do not see the ring.
func TestDashboardByKeyboardAndScreenReader(t *testing.T) {
	c := startCluster(t, basePort(t)+300)
	p := openPage(t, c.admin(0, "/"))
	p.size(1360, 900, "light")
	p.until("all is well", `document.querySelector("#verdict").innerText === "Every session is in place"`)
	require.Regexp(t, `^The ring: node-1 owns \d+ partitions, [\d.]+ %, node-2 owns .* and node-3 owns`,
		eval[string](p, `document.querySelector("#ring-picture").getAttribute("aria-label")`))
	require.Equal(t, "polite", eval[string](p, `document.querySelector("#lookup-answer").getAttribute("aria-live")`))
	unnamed := eval[[]string](p, `[...document.querySelectorAll("button, input, a, [tabindex]")].filter(e =>
		!(e.innerText || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length)).map(e => e.outerHTML)`)
	require.Empty(t, unnamed, "controls without a name")

	// Tab reaches the kill button of node-2, and Enter presses it.
	p.do(chromedp.Focus("a.skip"))
	for i := 0; !eval[bool](p, `document.activeElement?.matches('button[data-verb="kill"][data-node="node-2"]')`); i++ {
		require.Less(t, i, 30, "Tab does not reach the button")
		p.do(chromedp.KeyEvent(kb.Tab))
		require.NotEqual(t, "none", eval[string](p, `getComputedStyle(document.activeElement).outlineStyle`), "the focus is to be seen")
	}
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until("node-2 is stopped", row("node-2")+`.querySelector(".state").innerText === "stopped"`)
	p.until("the focus is on what can be done now", `document.activeElement?.matches('button[data-verb="start"][data-node="node-2"]')`)
	p.until("it was said", `document.querySelector("#toast").innerText === "node-2 was killed."`)

	p.click("#ring-table summary")
	p.until("all partitions are in the table", `document.querySelectorAll("#ring-table tbody tr").length === 1024`)
	p.until("and none of them is node-2's", `!document.querySelector("#ring-table tbody").innerText.includes("node-2")`)
}

// The page is the member's own: no other site frames it, feeds it or clicks it.
func TestDashboardIsClosedToOtherSites(t *testing.T) {
	c := startCluster(t, basePort(t)+400, "-nodes", "1", "-copies", "1")
	request := func(method, path string, headers ...string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, c.admin(0, path), nil)
		require.NoError(t, err)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
			if headers[i] == "Host" {
				r.Host = headers[i+1]
			}
		}
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		return resp
	}
	resp := request("GET", "/", "Accept", "text/html")
	for _, rule := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), rule)
	}
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", resp.Header.Get("Referrer-Policy"))
	require.Equal(t, http.StatusForbidden, request("GET", "/", "Host", "evil.example").StatusCode)
	require.Equal(t, http.StatusForbidden, request("POST", "/admin/dev/kill?node=node-1", "Origin", "http://evil.example").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, request("GET", "/admin/dev/kill?node=node-1").StatusCode)
	require.Equal(t, http.StatusOK, request("GET", "/readyz").StatusCode, "nothing was killed")

	p := openPage(t, c.admin(0, "/"))
	p.until("the page is live", `document.body.dataset.phase === "live"`)
}
