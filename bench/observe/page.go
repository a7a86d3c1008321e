package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Bars of the page.
const (
	barLoad    = 300 * time.Millisecond // from the click to the map with its figures
	barUpdates = 0.05                   // of a core, for a page with 100 services at one frame a second
	fresh      = 15                     // browsers that open the page, each with a profile of its own
)

// page opens the page of a system of many services in browsers that have never seen it, and measures what it costs to leave it open.
func (b *bench) page(ctx context.Context) error {
	s, err := b.many(ctx)
	if err != nil {
		return err
	}
	defer s.down()
	visitors, leave := context.WithCancel(ctx)
	defer leave()
	go s.visit(visitors)
	if err := s.openings(ctx, b.services); err != nil {
		return err
	}
	return s.updates(ctx, b.length)
}

// many starts a system of many services: each calls one of up to six that it uses, three floors of them.
func (b *bench) many(ctx context.Context) (*shop, error) {
	dir, err := os.MkdirTemp(b.dir, "many")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	name := func(i int) string { return fmt.Sprintf("service-%03d", i) }
	var file strings.Builder
	fmt.Fprintf(&file, "version: 1\nsystem: many\nlisten: 127.0.0.1:0\nroutes: [{path: /, to: %s}]\nservices:\n", name(0))
	for i := range b.services {
		var uses []string
		for k := 6*i + 1; k <= 6*i+6 && k < b.services; k++ {
			uses = append(uses, name(k))
		}
		fmt.Fprintf(&file, "  %s: {run: [%s, serve], uses: [%s]}\n", name(i), strconv.Quote(self), strings.Join(uses, ", "))
	}
	path := filepath.Join(dir, "banyan.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o644); err != nil {
		return nil, err
	}
	return b.up(ctx, filepath.Join(dir, "state"), path)
}

// serve is a service of that system.
func serve() error {
	var uses []string
	for _, v := range os.Environ() {
		if name, url, _ := strings.Cut(v, "="); strings.HasPrefix(name, "SERVICE_") && strings.HasSuffix(name, "_URL") {
			uses = append(uses, url)
		}
	}
	slices.Sort(uses)
	var calls atomic.Int64
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || len(uses) == 0 {
			return
		}
		n := int(calls.Add(1))
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, uses[n%len(uses)], nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		req.Header = r.Header.Clone() // with the trace
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		resp.Body.Close()
	}))
}

// visit sends requests, so that there are figures to show.
func (s *shop) visit(ctx context.Context) {
	for sleep(ctx, 50*time.Millisecond) == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address, nil)
		if err != nil {
			return
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}
}

// watcher notes when the page has painted the map with the figures of all services, whether the server or the script has put them there, and
// when the stream of new ones has come in.
const watcher = `
(() => {
  const look = () => {
    if (!/\d/.test(document.querySelector('.tiles dd')?.textContent)) return
    const figures = [...document.querySelectorAll('.map a.node .figures')].filter(e => /\d.*\/s/.test(e.textContent))
    if (figures.length < %d) return
    observer.disconnect()
    requestAnimationFrame(() => setTimeout(() => { window.drawn = performance.now(); live.observe(document, { attributes: true, subtree: true, attributeFilter: ['class'] }) }))
  }
  const observer = new MutationObserver(look)
  const live = new MutationObserver(() => { if (document.querySelector('.live.live')) { window.live = performance.now(); live.disconnect() } })
  observer.observe(document, { childList: true, subtree: true, characterData: true })
})()`

// timing is when something was so far, in milliseconds after the navigation began.
type timing struct {
	FirstByte float64 `json:"first"`
	Fetched   float64 `json:"fetched"`
	Parsed    float64 `json:"parsed"`
	Painted   float64 `json:"painted"` // anything that has content, by the browser's own account
	Drawn     float64 `json:"drawn"`
	Live      float64 `json:"live"`
	CPU       float64 `json:"-"` // of the browser, which other work on the machine changes little
	Server    float64 `json:"-"`
}

// chrome starts a browser with a profile of its own, which goes with it.
func chrome(ctx context.Context) (context.Context, func(), error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, nil, fmt.Errorf("the page is measured in Debian's chromium: %w", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	ctx, leave := chromedp.NewContext(ctx)
	return ctx, func() { leave(); end() }, chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.EmulateViewport(1440, 900))
}

// openings prints how long the page takes in fresh browsers.
func (s *shop) openings(ctx context.Context, services int) error {
	var all []timing
	for range fresh {
		one, err := s.opening(ctx, services)
		if err != nil {
			return fmt.Errorf("loading the page: %w", err)
		}
		all = append(all, one)
	}
	line := func(what string, of func(timing) float64) time.Duration {
		var v []float64
		for _, t := range all {
			v = append(v, of(t))
		}
		slices.Sort(v)
		fmt.Printf("page          %-34s median %4.0f ms, at least %4.0f, at most %4.0f (%d browsers)\n", what, v[len(v)/2], v[0], v[len(v)-1], len(v))
		return time.Duration(v[len(v)/2] * float64(time.Millisecond))
	}
	line("first byte", func(t timing) float64 { return t.FirstByte })
	line("scripts and styles fetched", func(t timing) float64 { return t.Fetched })
	line("parsed", func(t timing) float64 { return t.Parsed })
	drawn := line(fmt.Sprintf("map of %d services with figures", services), func(t timing) float64 { return t.Drawn })
	line("first content, as the browser says", func(t timing) float64 { return t.Painted })
	line("taken over, with new figures", func(t timing) float64 { return t.Live })
	line("CPU of the browser until then", func(t timing) float64 { return t.CPU })
	line("CPU of the server meanwhile", func(t timing) float64 { return t.Server })
	fmt.Printf("page          %s the bar of %s\n", map[bool]string{true: "holds", false: "MISSES"}[drawn < barLoad], barLoad)
	return nil
}

func (s *shop) opening(ctx context.Context, services int) (timing, error) {
	ctx, end, err := chrome(ctx)
	if err != nil {
		return timing{}, err
	}
	defer end()
	if _, err := chromedp.Call(ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(watcher, services)}); err != nil {
		return timing{}, err
	}
	root := chromedp.FromContext(ctx).Browser.Process().Pid
	browser := func() time.Duration { return spent(append(below(root, ""), root)) }
	browserBefore, serverBefore := browser(), spent([]int{s.pid})
	if err := chromedp.Do(ctx, chromedp.Navigate(s.page)); err != nil {
		return timing{}, err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			const n = performance.getEntriesByType('navigation')[0]
			const files = performance.getEntriesByType('resource').filter(e => /\.(js|css)$/.test(e.name))
			const first = performance.getEntriesByName('first-contentful-paint')[0] // which is told once it is on the screen
			return window.live && first ? JSON.stringify({first: n.responseStart, fetched: Math.max(...files.map(e => e.responseEnd)), parsed: n.domContentLoadedEventEnd,
				painted: first.startTime, drawn: window.drawn, live: window.live}) : ''
		})()`))
		if err != nil {
			return timing{}, err
		}
		if text != "" {
			t := timing{CPU: milliseconds(browser() - browserBefore), Server: milliseconds(spent([]int{s.pid}) - serverBefore)}
			return t, json.Unmarshal([]byte(text), &t)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return timing{}, err
		}
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return timing{}, fmt.Errorf("the map was never drawn (%w): %.500s", err, text)
}

// updates prints what a page that is left open costs: the server beside what it uses without one, and the browser.
func (s *shop) updates(ctx context.Context, length time.Duration) error {
	without, err := s.share(ctx, length, func() []int { return []int{s.pid} })
	if err != nil {
		return err
	}
	tab, end, err := chrome(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := chromedp.Do(tab, chromedp.Navigate(s.page)); err != nil {
		return err
	}
	if err := sleep(ctx, 5*time.Second); err != nil { // past its start
		return err
	}
	if dir := os.Getenv("BANYAN_SCREENSHOTS"); dir != "" { // to be looked at
		shot, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "many.png"), shot, 0o644)
		}
		if err != nil {
			return err
		}
	}
	root := chromedp.FromContext(tab).Browser.Process().Pid
	shares := map[string]float64{}
	for _, part := range []struct {
		name string
		pids func() []int
	}{
		{"server", func() []int { return []int{s.pid} }},
		{"page", func() []int { return below(root, "--type=renderer") }},
		{"browser", func() []int { return append(below(root, ""), root) }},
	} {
		if shares[part.name], err = s.share(ctx, length, part.pids); err != nil {
			return err
		}
	}
	fmt.Printf("updates       server: %.2f %% of a core without a page, %.2f %% with one: %.2f %% for it\n", 100*without, 100*shares["server"], 100*(shares["server"]-without))
	fmt.Printf("updates       browser: %.2f %% of a core in the page's process, %.2f %% in all of its processes\n", 100*shares["page"], 100*shares["browser"])
	worst := max(shares["server"]-without, shares["page"])
	fmt.Printf("updates       %s the bar of %.0f %% of a core\n", map[bool]string{true: "holds", false: "MISSES"}[worst < barUpdates], 100*barUpdates)
	return nil
}

// share is what processes use of a core.
func (s *shop) share(ctx context.Context, length time.Duration, pids func() []int) (float64, error) {
	before, begin := spent(pids()), time.Now()
	if err := sleep(ctx, length); err != nil {
		return 0, err
	}
	return (spent(pids()) - before).Seconds() / time.Since(begin).Seconds(), nil
}

// spent is the CPU time of processes.
func spent(pids []int) (total time.Duration) {
	for _, pid := range pids {
		if cpu, _, err := used(pid); err == nil { // it may have ended
			total += cpu
		}
	}
	return total
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// below are the processes that a process started, those that they started, and so on, with a word among their arguments.
func below(root int, word string) (pids []int) {
	parents := map[int]int{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, f := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		data, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
	}
	for pid := range parents {
		above := pid
		for above != root && above > 1 {
			above = parents[above]
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if above == root && pid != root && err == nil && strings.Contains(string(line), word) {
			pids = append(pids, pid)
		}
	}
	return pids
}
