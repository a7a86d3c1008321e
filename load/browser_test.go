package load

import (
	"bytes"
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
	"testing/synctest"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/banyanhq/banyan/topology"
)

// reported is a run with some of everything that a report shows: steps, tags, errors, thresholds, a slow moment.
func reported(t *testing.T) (res *Result) {
	synctest.Test(t, func(t *testing.T) {
		w := getWorkload()
		w.Rate, w.Arrivals, w.Duration, w.Warmup = 200, "poisson", topology.Duration(30*time.Second), topology.Duration(5*time.Second)
		w.Timeout = topology.Duration(2 * time.Second)
		w.Thresholds = []string{"p99 < 200ms", "errors < 10%", "p99{GET /cart} < 1s", "p99[5s] < 1s"}
		w.Scenarios = map[string]*topology.Scenario{"s": {Steps: []*topology.Step{
			{Path: "/"}, {Path: "/catalog", Tags: []string{"read"}}, {Path: "/cart", Tags: []string{"read"}}, {Method: "POST", Path: "/checkout", Weight: 0.3},
			{Name: `search <b>"quoted"</b> & a name that is longer than any other one here`, Path: "/search"}, {Path: "/none"}}}}
		start := time.Now()
		res = simulated(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
			at := time.Since(start)
			pause := time.Duration(len(r.URL.Path)) * time.Millisecond
			if at > 15*time.Second && at < 18*time.Second {
				pause *= 40
			}
			if r.URL.Path == "/search" && at > 22*time.Second && at < 24*time.Second {
				pause = 3 * time.Second
			}
			time.Sleep(pause)
			if r.URL.Path == "/none" && at > 10*time.Second {
				w.WriteHeader(http.StatusNotFound)
			}
		}, w, nil)
		res.Workers = []WorkerReport{{Address: "10.0.0.5:7070", Due: 3000, Total: res.Total, Generator: &res.Generator}, {Address: "10.0.0.6:7070", Due: 3000, Lost: "connection refused"}}
	})
	return res
}

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

// pageFacts is what a script in the page finds.
type pageFacts struct {
	Overflow bool
	Plots    []struct {
		Title         string
		Width, Height float64
		Marks         int
	}
	Faint []string // texts with too little contrast
}

// lookAround measures the page: what is drawn, what is cut off, and what is hard to read (WCAG 2.2, 1.4.3: a contrast of at
// least 4.5 to 1).
const lookAround = `(() => {
  const lum = c => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 }); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$|transparent/.test(c)) return c } return 'rgb(255,255,255)' };
  const faint = [];
  for (const e of document.querySelectorAll('h1,h2,p,td,th,b,span,text')) {
    if (!e.textContent.trim()) continue;
    const style = getComputedStyle(e), a = lum(e.tagName === 'text' ? style.fill : style.color), b = lum(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(e.tagName + ' ' + e.textContent.slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  const plots = [...document.querySelectorAll('svg')].map(s => { const r = s.getBoundingClientRect(); return {Title: s.querySelector('title').textContent, Width: r.width, Height: r.height,
    Marks: [...s.querySelectorAll('path.line,path.heat')].filter(p => p.getBBox().width > 1).length} });
  return {Overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth, Plots: plots, Faint: faint};
})()`

// The report in a real browser: nothing is fetched, nothing is complained of, every plot is drawn, all of it can be read, on
// light and dark, on a desk and on a telephone. With BANYAN_SCREENSHOTS the pictures are kept in that directory.
func TestReportInABrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	var page bytes.Buffer
	if err := reported(t).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page.Bytes())
	}))
	t.Cleanup(server.Close)
	var mu sync.Mutex
	var complaints []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			complaints = append(complaints, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
		case *runtime.EventConsoleAPICalled:
			complaints = append(complaints, fmt.Sprintf("console.%s", e.Type))
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			if e.Request.URL != server.URL+"/" {
				complaints = append(complaints, "it fetches "+e.Request.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1100, 390} {
			name := fmt.Sprintf("%s-%d", scheme, width)
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(server.URL+"/")); err != nil {
				t.Fatal(err)
			}
			facts, err := chromedp.Run(ctx, chromedp.Evaluate[pageFacts](lookAround))
			if err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("BANYAN_SCREENSHOTS"); dir != "" {
				picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if facts.Overflow {
				t.Errorf("%s: the page is wider than the window", name)
			}
			for _, f := range facts.Faint {
				t.Errorf("%s: hard to read: %s", name, f)
			}
			drawn := map[string]int{}
			for _, p := range facts.Plots {
				if drawn[p.Title] = p.Marks; p.Width < 300 || p.Height < 70 {
					t.Errorf("%s: %s has %.0f x %.0f pixels", name, p.Title, p.Width, p.Height)
				}
			}
			for title, marks := range map[string]int{"Rates over time": 3, "Percentiles of the latency over time": 4, "Heat map of the latency over time": 3, "Errors over time": 1, "Requests in flight over time": 1, "Latency of each step by the share of requests": 7} {
				if drawn[title] < marks {
					t.Errorf("%s: %s shows %d curves, want %d", name, title, drawn[title], marks)
				}
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(complaints, "\n"))
	}
}
