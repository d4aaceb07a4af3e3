package browser

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// tab is one page in a browser of its own.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // what the console shows; guarded by mu
	deaf       bool     // failed connections are part of the test; guarded by mu
}

// openPage opens an address in a fresh browser. At the end of the test the
// page's console must be empty.
func openPage(t *testing.T, url string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	p := &tab{t: t, ctx: ctx}
	var listener sync.WaitGroup
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser's end
		cancel()
		stop()
		listener.Wait()
		require.Empty(t, p.complaints, "the browser's console")
	})
	messages := chromedp.Console(ctx)
	listener.Go(func() { p.listen(messages) })
	require.NoError(t, chromedp.Do(ctx)) // starts the browser, which outlives the actions' own contexts
	p.do(chromedp.Navigate(url))
	return p
}

func (p *tab) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return // the browser has ended
		}
		p.mu.Lock()
		if lost := strings.Contains(m.Text, "net::ERR_"); !lost || !p.deaf {
			p.complaints = append(p.complaints, fmt.Sprintf("%s: %s", m.Type, m.Text))
		}
		p.mu.Unlock()
	}
}

// expectSilence says that connections fail from now on, or do so no more.
func (p *tab) expectSilence(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = yes
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, actions...))
}

// eval returns what an expression is in the page; promises are waited for.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, expression)
	return value
}

// until waits for an expression to be true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	waitFor(p.t, what, func() bool { return eval[bool](p, "!!("+expression+")") })
}

func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(selector))
}

// size makes the window so large, in CSS pixels, in the light or in the dark.
func (p *tab) size(width, height int64, scheme string) {
	p.t.Helper()
	phone := width < 500
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 1, Mobile: phone,
		}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, t, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: phone}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// pictures takes the whole page as it is now: on a desktop and on a phone, in
// the light and in the dark.
func (p *tab) pictures(name string) {
	p.t.Helper()
	for _, shot := range []struct {
		kind          string
		width, height int64
	}{{"desktop", 1360, 900}, {"phone", 360, 740}} {
		for _, scheme := range []string{"light", "dark"} {
			p.size(shot.width, shot.height, scheme)
			p.requireNoOverflow(shot.kind)
			p.until("nothing moves any more", `document.getAnimations().length === 0`)
			p.picture(strings.Join([]string{name, shot.kind, scheme}, "-"))
		}
	}
	p.size(1360, 900, "light")
}

// requireNoOverflow makes sure that the page need not be moved sideways.
func (p *tab) requireNoOverflow(kind string) {
	p.t.Helper()
	require.False(p.t, eval[bool](p, "document.documentElement.scrollWidth > document.documentElement.clientWidth"), "%s: the page is wider than the window", kind)
}

func (p *tab) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("BROWSER_OUT")
	if dir == "" {
		return
	}
	require.NoError(p.t, os.MkdirAll(dir, 0o755))
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	whole := true
	width := eval[float64](p, "document.documentElement.clientWidth")
	height := eval[float64](p, "document.documentElement.scrollHeight")
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: &whole, Clip: &page.Viewport{Width: width, Height: height, Scale: 1},
	})
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o644))
}
