package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// What a flag says is done, or refused before anything is sent: a zero is not taken for the default, an option that means
// nothing to the test is not passed over, and a report that cannot be written is told before the test and not after it.
func TestLoadRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer server.Close()
	none := filepath.Join(t.TempDir(), "none", "r.html")
	for _, x := range []struct{ flags, want string }{
		{"--rate 0/s", "--rate 0/s: must be above 0"},
		{"--rate 0", "--rate 0: must be above 0"},
		{"--users 0", "--users 0: must be above 0"},
		{"--users -3", "--users -3: must be above 0"},
		{"--connections 0", "--connections 0: must be above 0"},
		{"--rate 10/s --connections -1", "--connections -1: must be above 0"},
		{"--duration 0s", "--duration 0s: must be above 0"},
		{"--duration 0", "--duration 0: must be above 0"},
		{"--timeout 0s", "--timeout 0s: must be above 0"},
		{"--rate 10/s --max-late -1s", "--max-late -1s: must not be negative"},
		{"--speed 3", "--speed is of a trace"},
		{"--scale 3 --rate 1/s", "--scale is of a trace"},
		{"--from 3h", "--from is of a trace"},
		{"--length 3h", "--length is of a trace"},
		{"--catch-up skip", "--catch-up is of an open load"},
		{"--users 3 --max-late 1s", "--max-late is of an open load"},
		{"--arrivals constant", "--arrivals is of an open load"},
		{"--rate 10/s --think 1s", "--think is of --users and --connections"},
		{"--users 3 --think-times uniform", "--think-times is the distribution of --think"},
		{"--insecure", "--insecure is about TLS"},
		{"--ca none.pem", "--ca is about TLS"},
		{"--streams 3", "--streams is for h2://"},
		{"--html " + none, "cannot be written"},
		{"--hdr " + filepath.Dir(filepath.Dir(none)), "is a directory"},
		{"--prometheus " + none, "cannot be written"},
		{"--find-knee --slo p99<1s --workers 127.0.0.1:1", "--workers does not go with --find-knee"},
		{"--find-knee --slo p99<1s --stages 'step 10/s 1s'", "--stages does not go with --find-knee"},
		{"--find-knee --slo p99<1s --warmup 1s", "--warmup does not go with --find-knee"},
		{"--find-knee --slo p99<1s --think 1s", "--think does not go with --find-knee"},
		{"--find-knee --slo p99<1s --max-probes 0", "--max-probes 0: must be above 0"},
		{"--sweep users=1,2 --workers 127.0.0.1:1", "--workers does not go with --sweep"},
		{"--sweep users=1,2 --catch-up skip", "--catch-up does not go with --sweep"},
		{"--sweep users=1,2 --connections 3", "--connections does not go with --sweep"},
	} {
		args := append([]string{"load", server.URL}, split(x.flags)...)
		if code, out, errs := banyan(t, args...); code != 2 || !strings.Contains(errs, x.want) {
			t.Errorf("%s: code %d, want 2 and %q\n%s%s", x.flags, code, x.want, out, errs)
		}
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// split divides a command line at its spaces, but for those in single quotes.
func split(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// The workload of a file goes to any address: its scenarios, with what they extract and feed on, its mix and thresholds.
func TestLoadFileElsewhere(t *testing.T) {
	t.Parallel()
	var logins, carts, wrong atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/login":
			logins.Add(1)
			fmt.Fprintf(w, `{"token": "t-%s"}`, r.FormValue("name"))
		case r.URL.Path == "/v1/cart" && r.Header.Get("Authorization") == "Bearer t-"+r.URL.Query().Get("name"):
			carts.Add(1)
		default:
			wrong.Add(1)
		}
	}))
	defer server.Close()
	p := emptyPlace(t)
	p.write(`
system: shop
workload:
  users: 3
  think: 1ms
  thresholds: ["p50 < 1h"] # a busy machine may not come to all of them
  feeders: {accounts: {file: accounts.csv}}
  scenarios:
    buy:
      steps:
        - {method: POST, path: /login, form: {name: "${accounts.name}"}, extract: {token: {json: token}}}
        - {path: "/cart?name=${accounts.name}", headers: {Authorization: "Bearer ${token}"}, name: cart}
`)
	if err := os.WriteFile(filepath.Join(p.dir, "accounts.csv"), []byte("name\nann\nbob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := server.URL + "/v1"
	out := p.must("load", address, "-f", "banyan.yaml", "--rate", "50/s", "--duration", "2s")
	if !strings.Contains(out, address) || !strings.Contains(out, "cart") || logins.Load() == 0 || carts.Load() == 0 || wrong.Load() > 0 {
		t.Errorf("%d logins, %d carts, %d wrong requests\n%s", logins.Load(), carts.Load(), wrong.Load(), out)
	}
	carts.Store(0)
	if out := p.must("load", address, "-f", "banyan.yaml", "--sweep", "users=1,2", "--duration", "1s"); carts.Load() == 0 || wrong.Load() > 0 {
		t.Errorf("a sweep: %d carts, %d wrong requests\n%s", carts.Load(), wrong.Load(), out)
	}
	for flags, want := range map[string]string{
		"--body x":                      "--body is for loading a URL without a file",
		"--command PING":                "--command is for loading a URL without a file",
		"--catch-up skip":               "--catch-up is of an open load",
		"--find-knee --slo p99<1s -X Y": "--method is for loading a URL without a file",
	} {
		if _, errs, code := p.run(append([]string{"load", address, "-f", "banyan.yaml"}, split(flags)...)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %s", flags, code, errs)
		}
	}
}
