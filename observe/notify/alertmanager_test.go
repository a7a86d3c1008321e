package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// alertmanager runs Debian's Alertmanager with one webhook, and returns its address.
func alertmanager(t *testing.T, webhook string) string {
	t.Helper()
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("there is no prometheus-alertmanager here: alerts are not sent to a real one")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	text := fmt.Sprintf("route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\nreceivers: [{name: hook, webhook_configs: [{url: %q}]}]\n", webhook)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1) // its address, and then the end of what it says
	go func() {
		defer close(read)
		listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
		var said []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if said == nil {
				if m := listening.FindStringSubmatch(lines.Text()); m != nil {
					said = m
					read <- m[1]
				}
			}
		}
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		for range read { // all that it says has been read before it is waited for
		}
		_ = cmd.Wait() // it was killed
	})
	select {
	case address, ok := <-read:
		if !ok {
			t.Fatal("Alertmanager ended at once")
		}
		return "http://" + address
	case <-time.After(time.Minute):
		t.Fatal("Alertmanager did not start within a minute")
		return ""
	}
}

// amtool asks an Alertmanager, or what answers as one.
func amtool(t *testing.T, url string, args ...string) string {
	t.Helper()
	cmd := exec.Command("amtool", append([]string{"--alertmanager.url=" + url}, args...)...)
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("amtool %q: %v\n%s%s", args, err, out, errors.String())
	}
	return strings.TrimSpace(string(out))
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain was waited until %s", what)
		}
	}
}

// states asks amtool for the alerts of a query: what slo they are of, and whether they are active or suppressed.
func states(t *testing.T, url string, query ...string) (all []string) {
	t.Helper()
	var alerts []struct {
		Labels map[string]string
		Status struct{ State string }
	}
	if err := json.Unmarshal([]byte(amtool(t, url, append([]string{"alert", "query", "--output=json"}, query...)...)), &alerts); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		all = append(all, a.Labels["slo"]+" "+a.Status.State)
	}
	slices.Sort(all)
	return all
}

// silenced walks through the life of a silence by amtool: made, read back, in force, ended.
func silenced(t *testing.T, url string) {
	t.Helper()
	id := amtool(t, url, "silence", "add", "--author=ann", "--comment=known", "--duration=1h", "slo=a")
	var listed []struct {
		ID, Comment, CreatedBy string
		Matchers               []Matcher
		Status                 struct{ State string }
	}
	if err := json.Unmarshal([]byte(amtool(t, url, "silence", "query", "--output=json", "slo=a")), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 1 || listed[0].ID != id || listed[0].Comment != "known" || listed[0].CreatedBy != "ann" || listed[0].Status.State != "active" ||
		len(listed[0].Matchers) != 1 || listed[0].Matchers[0].Name != "slo" || listed[0].Matchers[0].Value != "a" {
		t.Fatalf("the silence %s reads back as %+v", id, listed)
	}
	if other := amtool(t, url, "silence", "query", "--output=json", "slo=b"); other != "[]" {
		t.Errorf("silences of b: %s", other)
	}
	until(t, "a is silenced", func() bool { return slices.Equal(states(t, url, "--silenced", "slo=a"), []string{"a suppressed"}) })
	if got := states(t, url, "alertname=Burn"); !slices.Equal(got, []string{"b active"}) {
		t.Errorf("alerts that are not silenced: %q", got)
	}
	if got := states(t, url, `slo=~"x|a"`); len(got) > 0 {
		t.Errorf("alerts of x or a that are not silenced: %q", got)
	}
	amtool(t, url, "silence", "expire", id)
	until(t, "a is no longer silenced", func() bool { return slices.Equal(states(t, url), []string{"a active", "b active"}) })
}

// A real Alertmanager takes alerts, routes them, silences them and hears that they ended.
func TestARealAlertmanager(t *testing.T) {
	type told struct {
		Status string
		Alerts []struct {
			Status      string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
	hooks := make(chan told, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m told
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		hooks <- m
	}))
	t.Cleanup(hook.Close)
	url := alertmanager(t, hook.URL)
	n := notifier(t, Config{Alertmanagers: []string{url}, Labels: map[string]string{"system": "shop"}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	burning := func(state rules.State) (all []rules.Alert) {
		for _, slo := range []string{"a", "b"} {
			a := rules.Alert{Labels: labels.FromStrings("alertname", "Burn", "slo", slo), Annotations: labels.FromStrings("summary", "it burns"),
				State: state, Active: time.Now().Add(-time.Minute), Fired: time.Now().Add(-time.Minute), Rule: "x > 1"}
			if state == rules.Inactive {
				a.Resolved = time.Now()
			}
			all = append(all, a)
		}
		return all
	}
	// heard waits for word that both are so.
	heard := func(status string) {
		t.Helper()
		got := map[string]bool{}
		for limit := time.After(time.Minute); len(got) < 2; {
			select {
			case m := <-hooks:
				for _, a := range m.Alerts {
					if a.Status == status && a.Labels["system"] == "shop" && a.Annotations["summary"] == "it burns" {
						got[a.Labels["slo"]] = true
					}
				}
			case <-limit:
				t.Fatalf("of the alerts that are %s, Alertmanager told of %v", status, got)
			}
		}
	}
	n.Tell(burning(rules.Firing))
	heard("firing")
	if got := states(t, url); !slices.Equal(got, []string{"a active", "b active"}) {
		t.Errorf("Alertmanager has %q", got)
	}
	silenced(t, url)
	n.Tell(burning(rules.Inactive))
	heard("resolved")
}

// What answers as an Alertmanager here does so for the same client.
func TestAmtool(t *testing.T) {
	if _, err := exec.LookPath("amtool"); err != nil {
		t.Skip("there is no amtool here")
	}
	n := webhooks(t)
	mux := http.NewServeMux()
	n.Mount(mux, func() []rules.Alert {
		return []rules.Alert{alert(rules.Firing, "slo", "a", "severity", "page"), alert(rules.Firing, "slo", "b"), alert(rules.Pending, "slo", "c")}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	if got := states(t, server.URL, "--receiver=oncall"); !slices.Equal(got, []string{"a active"}) {
		t.Errorf("alerts of oncall: %q", got)
	}
	silenced(t, server.URL)
	if out := amtool(t, server.URL, "cluster", "show"); !strings.Contains(out, "disabled") {
		t.Errorf("the cluster: %s", out)
	}
}
