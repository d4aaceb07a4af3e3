package browser

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// startOTP runs examples/otp until the test ends, and returns its address.
func startOTP(t *testing.T, base int) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "otp")
	build := exec.Command("go", "build", "-o", program, "./examples/otp")
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	var printed output
	cmd := exec.Command(program, "-base-port", strconv.Itoa(base))
	cmd.Stdout, cmd.Stderr = &printed, &printed
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("otp printed:\n%s", printed.String())
		}
	})
	waitFor(t, "the site is open", func() bool { return strings.Contains(printed.String(), "Open  http") })
	return fmt.Sprintf("http://127.0.0.1:%d", base)
}

// at waits until the page with this heading is shown, and returns the server
// that has answered.
func (p *tab) at(heading string) (server string) {
	p.t.Helper()
	p.until("the page "+heading, fmt.Sprintf(`document.readyState === "complete" && document.querySelector("h1")?.innerText === %q`, heading))
	return p.text("#server")
}

// askForCode goes from the first page to the one where the code is typed in,
// by way of the mail box, where it leaves a picture.
func (p *tab) askForCode(pictures string) (digits string) {
	p.t.Helper()
	p.click("#ask")
	p.at("Type the code")
	p.click("#mail")
	p.at("Mail box")
	digits = p.text("#newest .digits")
	require.Regexp(p.t, `^\d{6}$`, digits)
	p.pictures("otp-mail-" + pictures)
	p.click("#back")
	p.at("Type the code")
	return digits
}

// forgive takes a complaint off the console that is part of the test.
func (p *tab) forgive(text string) {
	p.t.Helper()
	waitFor(p.t, "the console shows "+text, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		before := len(p.complaints)
		p.complaints = slices.DeleteFunc(p.complaints, func(c string) bool { return strings.Contains(c, text) })
		return len(p.complaints) < before
	})
}

// The login of the story, with the owner killed between its two steps.
func TestOTPLoginSurvivesItsOwner(t *testing.T) {
	site := startOTP(t, basePort(t)+500)
	p := openPage(t, site)

	owner := p.at("Log in with a code")
	p.pictures("otp-home")
	digits := p.askForCode("on")
	require.Equal(t, owner, p.text("#server"))
	p.do(chromedp.SendKeys("#digits", digits+kb.Enter))
	require.Equal(t, owner, p.at("Your account"))
	require.Equal(t, "alice@example.org", p.text("#user"))
	require.Contains(t, p.text("#moral"), "every request of yours goes to "+owner)
	p.pictures("otp-account")
	p.click("#logout")
	p.at("Log in with a code")

	digits = p.askForCode("again")
	p.pictures("otp-form")
	pid, err := strconv.Atoi(strings.TrimPrefix(p.text("#kill"), "kill -9 "))
	require.NoError(t, err)
	process, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	waitFor(t, "another server answers who reloads the page", func() bool {
		p.do(chromedp.Navigate(site + "/login"))
		server := p.text("#server")
		return server != "" && server != owner
	})
	p.do(chromedp.SendKeys("#digits", digits+kb.Enter))
	successor := p.at("Your account")
	require.NotEqual(t, owner, successor)
	require.Equal(t, "alice@example.org", p.text("#user"))
	require.Contains(t, p.text("#moral"), fmt.Sprintf("You came from %s to %s", owner, successor))
	p.pictures("otp-taken-over")
}

// The login as it is without affinity: it fails, and the page says why.
func TestOTPLoginFailsWithoutAffinity(t *testing.T) {
	p := openPage(t, startOTP(t, basePort(t)+540))
	p.at("Log in with a code")
	require.Equal(t, "true", eval[string](p, `document.querySelector("#affinity").getAttribute("aria-checked")`))
	p.do(chromedp.Focus("#affinity"), chromedp.KeyEvent(kb.Enter))
	p.until("affinity is off", `document.querySelector("#affinity")?.getAttribute("aria-checked") === "false"`)
	p.at("Log in with a code")

	digits := p.askForCode("off")
	p.do(chromedp.SendKeys("#digits", digits+kb.Enter))
	p.until("the login is refused", `document.querySelector("#problem")`)
	require.Regexp(t, `^Your code was made by (node-\d) and is in the memory of node-\d alone, but this request was answered by (node-\d), which has never heard of it\.$`, p.text("#problem"))
	require.Contains(t, p.text("#problem"), "answered by "+p.text("#server"))
	p.pictures("otp-refused")
	p.forgive("status of 422")

	p.click("#affinity")
	p.until("affinity is on", `document.querySelector("#affinity")?.getAttribute("aria-checked") === "true"`)
	p.at("Log in with a code")
	digits = p.askForCode("on-again")
	p.do(chromedp.SendKeys("#digits", digits+kb.Enter))
	p.at("Your account")
}
