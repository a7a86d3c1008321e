package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium for the test, which is skipped where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium here: the page is not looked at in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	return ctx
}

// tab is a page in a browser, with all that it complains of.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string
}

func openTab(t *testing.T, base string) *tab {
	p := &tab{t: t, ctx: browser(t), base: base}
	complain := func(format string, a ...any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.complaints = append(p.complaints, fmt.Sprintf(format, a...))
	}
	err := chromedp.Listen(p.ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			complain("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			complain("console.%s", e.Type)
		case *runtime.EventExceptionThrown:
			complain("%s", e.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, base+"/") {
				complain("it fetches %s", e.Request.URL)
			}
		}
	})
	_, err1 := chromedp.Call(p.ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(p.ctx, log.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(p.ctx, runtime.Enable, cdp.Empty{})
	if err := errors.Join(err, err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return p
}

// look sets theme and size.
func (p *tab) look(scheme string, width, height int64) {
	p.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
	if err := errors.Join(err, chromedp.Do(p.ctx, chromedp.EmulateViewport(width, height))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(path string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.Navigate(p.base+path)); err != nil {
		p.t.Fatalf("opening %s: %v", path, err)
	}
}

// beforehand has each page that is opened run a script before any of its own.
func (p *tab) beforehand(script string) {
	p.t.Helper()
	params := page.AddScriptToEvaluateOnNewDocumentParams{Source: script}
	if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, params); err != nil {
		p.t.Fatal(err)
	}
}

// until waits until a script is true.
func (p *tab) until(script string) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("!!("+script+")"))
		if err != nil {
			p.t.Fatalf("%s: %v", script, err)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string]("location.pathname + ' ' + document.body.innerText"))
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("in vain was waited for %s\ncomplaints: %q\nthe page: %.3000s", script, p.complaints, text)
		}
		time.Sleep(20 * time.Millisecond) // between two looks; what is waited for is the page
	}
}

// do runs a script that returns nothing.
func (p *tab) do(script string) {
	p.t.Helper()
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("(() => {"+script+"; return true})()")); err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
}

// click clicks on the button or the link with such a text or label, as a person would find it.
func (p *tab) click(text string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll('button, a')].find(e => (e.textContent.trim() === %q || e.getAttribute('aria-label') === %q) && !e.disabled && e.getClientRects().length > 0)`, text, text)
	p.until(find)
	p.do(find + `.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))`)
}

// sees waits until a text is on the page.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// fill types into a field.
func (p *tab) fill(selector, value string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`document.querySelector(%q)`, selector))
	p.do(fmt.Sprintf(`const e = document.querySelector(%q); e.value = %q; e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true}))`, selector, value))
}

// picture keeps what is seen in the directory BANYAN_SCREENSHOTS, if that is set.
func (p *tab) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("BANYAN_SCREENSHOTS")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// axe holds the page against the rules of axe-core, and checks that nothing is wider than the window.
func (p *tab) axe(name string) {
	p.t.Helper()
	script, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		p.t.Fatal(err)
	}
	p.do("if (!window.axe) {" + string(script) + "}")
	p.do(`window.axeResult = null; axe.run(document, {resultTypes: ['violations']}).then(r => { window.axeResult = r.violations.map(v => v.id + ' (' + v.impact + '): ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + (n.any[0] ? n.any[0].message : '')).join(' | ')) }, e => { window.axeResult = ['axe failed: ' + e] })`)
	p.until("window.axeResult")
	violations, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string]("window.axeResult"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, v := range violations {
		p.t.Errorf("%s: axe: %s", name, v)
	}
	wide, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
	if err != nil {
		p.t.Fatal(err)
	}
	if wide {
		p.t.Errorf("%s: the page is wider than the window", name)
	}
}

func (p *tab) noComplaints() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.complaints) > 0 {
		p.t.Errorf("the browser complains:\n%s", strings.Join(p.complaints, "\n"))
	}
}

// served runs a server with a fake system whose seconds pass as the browser's do.
func served(t *testing.T, f *fakeSystem, change func(*Config)) string {
	t.Helper()
	s := newServer(t, f, func(c *Config) {
		c.Control = scaler(t, f)
		c.Features = func() Features { return Features{Logs: true, Traces: true, Alerts: true} }
		if change != nil {
			change(c)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				f.tick()
			}
		}
	})
	server := httptest.NewServer(others(s))
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		all.Wait()
	})
	return server.URL
}

// scaler carries out what the page asks of the control API.
func scaler(t *testing.T, f *fakeSystem) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Service  string `json:"service"`
			Replicas int    `json:"replicas"`
		}
		if err := decode(w, r, &req); err != nil {
			answer(w, nil, err)
			return
		}
		f.mu.Lock()
		f.scaled[req.Service] = req.Replicas
		f.mu.Unlock()
		answer(w, struct{}{}, nil)
	})
}

// Every view in a real browser: drawn, usable, without a complaint, and clean by the rules of accessibility, in both themes
// and on a telephone. With BANYAN_SCREENSHOTS the pictures are kept in that directory.
func TestEveryViewInABrowser(t *testing.T) {
	f := fakeShop(t)
	f.broken = "cart"
	loads := &fakeLoads{step: make(chan struct{})}
	p := openTab(t, served(t, f, func(c *Config) { c.Loader = loads }))
	views := []struct{ name, path, ready string }{
		{"map", "/", `document.querySelectorAll('.map a.node').length === 12 && document.querySelector('.edge .label')`},
		{"table", "/services", `document.querySelectorAll('table').length === 2 && document.querySelector('.spark')`},
		{"service", "/node/catalog", `document.querySelectorAll('.charts svg').length === 6 && document.querySelector('.charts .expected')`},
		{"gateway", "/node/%40gateway", `document.querySelectorAll('.charts svg').length >= 10`},
		{"queue", "/node/queues.mail", `document.querySelector('.tiles')`},
		{"plan", "/plan", `document.querySelector('.curve path.line') && document.querySelector('.trust')`},
		{"load", "/load", `document.querySelector('form')`},
		{"slos", "/slos", `document.querySelector('.meter') && document.querySelector('.alerts .firing')`},
		{"logs", "/log?query=service%3Dcatalog", `document.querySelectorAll('.log').length === 30 && document.querySelector('.bar.error')`},
		{"traces", "/trace", `document.querySelectorAll('tbody tr').length === 20`},
		{"trace", "/trace/00000000000000000000000000000001", `document.querySelectorAll('.spans tbody tr').length === 5`},
		{"timeline", "/timeline", `document.querySelector('.tickmark')`},
	}
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1440, 900}, {"dark", "dark", 1440, 900}, {"phone", "dark", 390, 844}} {
		p.look(look.scheme, look.width, look.height)
		for _, v := range views {
			p.open(v.path)
			p.until(v.ready)
			p.axe(v.name + ", " + look.name)
			p.picture(v.name + "-" + look.name)
		}
	}
	p.noComplaints()
}

// A person's walk: from the map to a service, which is scaled; a what-if; a load test; the theme; the keyboard.
func TestAWalkThroughThePage(t *testing.T) {
	f := fakeShop(t)
	loads := &fakeLoads{step: make(chan struct{}, 4)}
	p := openTab(t, served(t, f, func(c *Config) { c.Loader = loads }))
	p.look("light", 1280, 900)
	p.open("/#token=" + testToken)
	p.until(`document.querySelectorAll('.map a.node').length === 12`)
	p.until(`location.hash === ''`) // the token does not stay in the address

	p.fill("input[type=search]", "catal")
	p.until(`document.querySelectorAll('.map a.node.dim').length === 11`)
	p.do(`document.querySelector('a[data-id=catalog]').focus(); document.activeElement.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))`)
	p.until(`location.pathname === '/node/catalog'`)
	p.sees("CPU at 91 % of a target of 70 %") // why the autoscaler decided

	// A change is asked for twice; to cancel leaves things as they are.
	p.click("One replica more")
	p.click("Scale")
	p.sees("catalog gets 3 replicas instead of 2")
	p.axe("the dialog")
	p.picture("dialog")
	p.click("Cancel")
	p.until(`!document.querySelector('dialog')`)
	p.click("Scale")
	p.click("Scale catalog")
	p.sees("catalog has 3 replicas instead of 2.")
	p.until(`[...document.querySelectorAll('tbody th')].some(e => e.textContent === 'catalog-2')`)

	p.click("Plan")
	p.sees("Latency over load")
	p.until(`document.querySelector('input[type=range]')`)
	before := `document.querySelector('.curve path.line.two').getAttribute('d')`
	p.do(`window.curve = ` + before)
	p.do(`const s = [...document.querySelectorAll('fieldset')].find(f => f.textContent.includes('catalog')).querySelector('input'); s.value = 8; s.dispatchEvent(new Event('input', {bubbles: true}))`)
	p.until(`document.querySelector('.curve path.line.one')`)
	p.sees("Effect")
	p.axe("what-if")
	p.picture("what-if")
	p.click("Reset")
	p.until(`!document.querySelector('.curve path.line.one')`)

	p.click("Load test")
	p.click("Start")
	p.sees("Load the system?")
	p.click("Start the test")
	p.sees("then it begins")
	loads.step <- struct{}{}
	loads.step <- struct{}{}
	p.until(`document.querySelectorAll('.charts svg').length === 3`)
	p.picture("load-running")
	close(loads.step)
	p.sees("What was found")

	p.click("Timeline")
	f.happen(eventNow("catalog", "exited", "exit status 137"))
	p.sees("exit status 137")
	p.click("Switch theme")
	p.until(`getComputedStyle(document.body).backgroundColor === 'rgb(13, 15, 19)'`)
	p.click("SLOs")
	p.sees("checkout")
	p.do(`history.back()`)
	p.until(`location.pathname === '/timeline'`)
	p.noComplaints()
}

// What is typed into the page as it was painted, before the script has taken it over, is looked for then.
func TestWhatIsTypedEarlyIsLookedFor(t *testing.T) {
	p := openTab(t, served(t, fakeShop(t), nil))
	p.look("light", 1280, 900)
	p.beforehand(`document.addEventListener('DOMContentLoaded', () => { const e = document.querySelector('input[type=search]'); if (e) e.value = 'catal' })`)
	p.open("/#token=" + testToken)
	p.until(`document.querySelectorAll('.map a.node.dim').length === 11`)
	p.until(`document.querySelector('input[type=search]').value === 'catal'`)
	p.fill("input[type=search]", "")
	p.until(`document.querySelectorAll('.map a.node.dim').length === 0`)
	p.noComplaints()
}

// A link followed at the very moment the script has taken the page over, before any later effect, leads where it says.
func TestALinkFollowedEarly(t *testing.T) {
	p := openTab(t, served(t, fakeShop(t), nil))
	p.look("light", 1280, 900)
	p.beforehand(`window.EventSource = class extends EventSource { constructor(url) { super(url); document.querySelector('a[data-id=catalog]')?.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true})) } }`)
	p.open("/#token=" + testToken)
	p.until(`location.pathname === '/node/catalog'`)
	p.click("One replica more")
	p.noComplaints()
}

// A page without the token is asked for it, and told when it is wrong.
func TestTheTokenIsAskedFor(t *testing.T) {
	p := openTab(t, served(t, fakeShop(t), nil))
	p.look("light", 1280, 900)
	p.open("/node/web")
	p.click("Restart")
	p.fill("dialog input[name=token]", "wrong")
	p.click("Restart web")
	p.sees("this takes the token")
	p.fill("dialog input[name=token]", testToken)
	p.mu.Lock()
	p.complaints = nil // the browser logs the 401
	p.mu.Unlock()
	p.click("Restart web")
	p.sees("web was restarted.")
	p.noComplaints()
}
