package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/banyanhq/banyan/ui"
)

// TestPage runs a system and asks its page for everything that it offers: over HTTP, over the control socket, in a browser.
func TestPage(t *testing.T) {
	t.Parallel()
	// The plan is told what a request costs, so that it has something to show.
	p := newPlace(t, strings.Replace(smallSystem, "    limits: {cpu: 1, memory: 128MiB}\n", "    limits: {cpu: 1, memory: 128MiB}\n    work: {cpu: 1ms}\n", 1))
	out := p.must("up", "--detach")
	if !strings.Contains(out, "page on http://127.0.0.1:") || strings.Contains(out, "token=") {
		t.Errorf("up says of the page (the token is none of a log's business): %s", out)
	}
	var where struct{ Page string }
	p.ask(&where, "ui")
	base, token, ok := strings.Cut(where.Page, "/#token=")
	if !ok || len(token) < 48 {
		t.Fatalf("ui: %q", where.Page)
	}
	t.Run("figures", func(t *testing.T) { pageFigures(t, p, base) })
	t.Run("changes", func(t *testing.T) { pageChanges(t, p, base, token) })
	t.Run("load test", func(t *testing.T) { pageLoad(t, base, token) })
	t.Run("in a browser", func(t *testing.T) { pageInBrowser(t, base, where.Page) })
	p.must("down")
}

// callPage makes a request of JSON and reads the answer.
func callPage(t *testing.T, method, url, token string, body, into any) int {
	t.Helper()
	var send io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		send = bytes.NewReader(data)
	}
	r, err := http.NewRequest(method, url, send)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%s %s: %v: %.300s", method, url, err, data)
		}
	}
	return resp.StatusCode
}

func pageFigures(t *testing.T, p *place, base string) {
	eventually(t, "the frame shows a system that serves", func() bool {
		var frame ui.Frame
		code := callPage(t, "GET", base+"/v1/frame", "", nil, &frame)
		return code == 200 && frame.System == "small" && frame.Nodes["front"].Ready > 0 && frame.State == "serving"
	})
	var m ui.Map
	if callPage(t, "GET", base+"/v1/map", "", nil, &m); len(m.Nodes) != 4 || len(m.Edges) != 3 {
		t.Errorf("the map: %+v", m)
	}
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/api/openapi.json": 200, "/v1/topology": 401, "/v1/stop": 404, "/v1/info": 200, "/v1/autoscale": 200, "/v1/canaries": 200} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	for args, want := range map[string]string{"map": "┌", "map --list": "front", "map --svg": "<svg"} {
		if out := p.must(strings.Fields(args)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s", args, out)
		}
	}
}

func pageChanges(t *testing.T, p *place, base, token string) {
	change := map[string]any{"service": "back", "replicas": 2}
	if code := callPage(t, "POST", base+"/v1/scale", "", change, nil); code != 401 {
		t.Errorf("scaled without the token: %d", code)
	}
	if code := callPage(t, "POST", base+"/v1/scale", token, change, nil); code != 200 {
		t.Errorf("scaled with the token: %d", code)
	}
	var s statusAnswer
	p.ask(&s, "status")
	eventually(t, "it has scaled", func() bool {
		var d ui.NodeDetail
		callPage(t, "GET", base+"/v1/nodes/back", "", nil, &d)
		return d.Status != nil && d.Status.Ready == 2
	})
}

func pageLoad(t *testing.T, base, token string) {
	if code := callPage(t, "POST", base+"/v1/load", token, ui.LoadRequest{Rate: 40, Seconds: 2}, nil); code != 200 {
		t.Fatalf("starting a load test: %d", code)
	}
	var st ui.LoadState
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) { // it is another process, which is waited for
		callPage(t, "GET", base+"/v1/load", "", nil, &st)
		if !st.Running {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not end: %+v", st)
		}
	}
	if st.Error != "" || st.Summary == nil || st.Summary.Requests < 40 || len(st.Points) == 0 {
		t.Errorf("the load test: %+v", st)
	}
	if code := callPage(t, "POST", base+"/v1/load", token, ui.LoadRequest{Seconds: 600}, nil); code != 200 {
		t.Fatalf("starting another: %d", code)
	}
	if code := callPage(t, "DELETE", base+"/v1/load", token, nil, &st); code != 200 || st.Running {
		t.Errorf("stopping it: %d %+v", code, st)
	}
}

// pageInBrowser looks at every view of a system that really runs.
func pageInBrowser(t *testing.T, base, page string) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium here: the page is not looked at in a browser")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))...)
	defer cancel()
	ctx, end := chromedp.NewContext(ctx)
	defer end()
	var mu sync.Mutex
	var complaints []string
	listen := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		}
	})
	_, err1 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	_, err2 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	if err := errors.Join(listen, err1, err2, chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(page))); err != nil {
		t.Fatal(err)
	}
	for _, view := range []struct{ path, ready string }{
		{"/", `document.querySelectorAll('.map a.node').length === 4`},
		{"/services", `document.querySelectorAll('tbody tr').length > 4`},
		{"/node/back", `document.querySelectorAll('.charts svg').length === 6`},
		{"/node/%40gateway", `document.querySelectorAll('.charts svg').length > 6`},
		{"/plan", `document.querySelector('.curve path.line')`},
		{"/load", `document.body.innerText.includes('What was found') || document.querySelector('form')`},
		{"/slos", `document.querySelector('#alerts')`},
		{"/log", `document.querySelectorAll('.log').length > 0`},
		{"/trace", `document.querySelector('tbody a')`},
		{"/timeline", `document.querySelectorAll('.events li').length > 2`},
	} {
		if err := chromedp.Do(ctx, chromedp.Navigate(base+view.path)); err != nil {
			t.Fatal(err)
		}
		waitInPage(ctx, t, view.path, view.ready)
		if dir := os.Getenv("BANYAN_SCREENSHOTS"); dir != "" {
			shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "real"+strings.ReplaceAll(view.path, "/", "-")+".png"), shot, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(complaints, "\n"))
	}
}

func waitInPage(ctx context.Context, t *testing.T, what, ready string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) { // between two looks at the page
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+ready+")"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			t.Fatalf("%s: in vain was waited for %s\n%.1500s", what, ready, text)
		}
	}
}

// What a load test's process says is read, whatever else it says.
func TestLooksOfALoadTest(t *testing.T) {
	begin := time.Now()
	if p, ok := lookOf([]byte(`{"Elapsed":1000000000,"Sent":12.5,"P99":5000000}`), begin); !ok || p.Sent != 12.5 || p.P99 != 5*time.Millisecond {
		t.Errorf("a look: %+v %v", p, ok)
	}
	if p, ok := lookOf([]byte(`{"rate":100,"verdict":"held","errors":0.1,"p99_ns":7000000}`), begin); !ok || p.Sent != 100 || p.Failed != 10 || p.P99 != 7*time.Millisecond {
		t.Errorf("a probe: %+v %v", p, ok)
	}
	for _, line := range []string{"", "banyan: no", "{", `["a"]`} {
		if _, ok := lookOf([]byte(line), begin); ok {
			t.Errorf("%q was taken for a look", line)
		}
	}
	for text, knee := range map[string]bool{"": false, "{}": false, "nonsense": true} {
		if _, err := readOutcome([]byte(text), knee); err == nil {
			t.Errorf("%q was taken for a result", text)
		}
	}
}
