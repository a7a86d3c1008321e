package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

var now = time.Unix(1_700_000_000, 0).UTC()

func alert(state rules.State, pairs ...string) rules.Alert {
	a := rules.Alert{Labels: labels.FromStrings(append([]string{"alertname", "Burn"}, pairs...)...), Annotations: labels.FromStrings("summary", "it burns"),
		State: state, Active: now.Add(-time.Minute), Fired: now, Rule: "x > 1"}
	if state == rules.Inactive {
		a.Resolved = now
	}
	return a
}

func notifier(t *testing.T, cfg Config) *Notifier {
	t.Helper()
	if cfg.Silences == nil {
		var err error
		if cfg.Silences, err = OpenSilences(""); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// webhooks is a configuration with one webhook for pages and one for all else.
func webhooks(t *testing.T) *Notifier {
	return notifier(t, Config{External: "http://banyan", Labels: map[string]string{"system": "shop"},
		Receivers: []Receiver{{Name: "oncall", Webhook: "http://127.0.0.1:1/page"}, {Name: "team", Webhook: "http://127.0.0.1:1/ticket"}},
		Routes: []Route{{Receiver: "oncall", Match: `{severity="page"}`, GroupBy: []string{"slo"}, Wait: 10 * time.Second, Interval: time.Minute, Repeat: time.Hour},
			{Receiver: "team", GroupBy: []string{"alertname"}}}})
}

// drain takes what is queued for a destination: status and labels of each message's alerts.
func drain(n *Notifier, index int) (out []string) {
	for {
		select {
		case m := <-n.destinations[index].queue:
			var parts []string
			for _, a := range m.alerts {
				parts = append(parts, string(a.State)+" "+a.Labels.Get("slo")+a.Labels.Get("i"))
			}
			out = append(out, strings.Join(parts, "+"))
		default:
			return out
		}
	}
}

// The life of groups, second by second: who is told what, and when.
func TestGroups(t *testing.T) {
	n := webhooks(t)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	for _, step := range []struct {
		at     int
		alerts []rules.Alert
		want   []string // to oncall
	}{
		{0, []rules.Alert{alert(rules.Firing, "severity", "page", "slo", "a", "i", "1")}, nil}, // it waits for others
		{5, []rules.Alert{alert(rules.Firing, "severity", "page", "slo", "a", "i", "2")}, nil},
		{10, nil, []string{"firing a1+firing a2"}},
		{30, nil, nil},
		{40, []rules.Alert{alert(rules.Firing, "severity", "page", "slo", "b", "i", "1")}, nil},
		{50, nil, []string{"firing b1"}},
		{60, []rules.Alert{alert(rules.Firing, "severity", "page", "slo", "a", "i", "1"), alert(rules.Inactive, "severity", "page", "slo", "a", "i", "2")}, nil},
		{70, nil, []string{"inactive a2+firing a1"}}, // the interval after the first message
		{80, nil, nil},
		{81, []rules.Alert{alert(rules.Inactive, "severity", "page", "slo", "b", "i", "1")}, nil},
		{110, nil, []string{"inactive b1"}},
		{120, []rules.Alert{alert(rules.Inactive, "severity", "page", "slo", "a", "i", "1")}, nil},
		{130, nil, []string{"inactive a1"}},
		{140, []rules.Alert{alert(rules.Inactive, "severity", "page", "slo", "c", "i", "1")}, nil}, // nobody was told that it began
		{200, nil, nil},
	} {
		if step.alerts != nil {
			n.take(step.alerts, at(step.at))
		}
		n.flush(at(step.at))
		if got := drain(n, 0); !slices.Equal(got, step.want) {
			t.Errorf("at %d s: %q: want %q", step.at, got, step.want)
		}
	}
	if got := drain(n, 1); got != nil {
		t.Errorf("the team was told %q", got)
	}
	if len(n.groups) != 0 {
		t.Errorf("%d groups are left", len(n.groups))
	}
}

func TestRepeatAndSilentEnd(t *testing.T) {
	n := webhooks(t)
	page := alert(rules.Firing, "severity", "page", "slo", "a")
	messages := 0
	for s := 0; s <= 2*3600+60; s++ {
		at := now.Add(time.Duration(s) * time.Second)
		if s%60 == 0 {
			n.take([]rules.Alert{page}, at)
		}
		n.flush(at)
		messages += len(drain(n, 0))
	}
	if messages != 3 {
		t.Errorf("%d messages in two hours: want one, and one an hour after it, twice", messages)
	}
	// When it is evaluated no more, nobody is told that it is over, for nobody knows.
	for s := 0; s < 2*3600; s += 10 {
		n.flush(now.Add(2*time.Hour + time.Minute + time.Duration(s)*time.Second))
	}
	if got := drain(n, 0); got != nil || len(n.groups) != 0 {
		t.Errorf("told %q, %d groups left", got, len(n.groups))
	}
}

// A heartbeat beats while the watchdog fires and is evaluated, and no longer.
func TestHeartbeat(t *testing.T) {
	n := notifier(t, Config{Receivers: []Receiver{{Name: "alive", Heartbeat: "http://127.0.0.1:1/"}},
		Routes: []Route{{Receiver: "alive", Match: `{alertname="Watchdog"}`, Wait: time.Second, Interval: 10 * time.Second, Repeat: time.Minute}}})
	beats := func(from, to int, evaluated bool) (total int) {
		for s := from; s < to; s++ {
			at := now.Add(time.Duration(s) * time.Second)
			if evaluated && s%30 == 0 {
				a := alert(rules.Firing)
				a.Labels = labels.FromStrings("alertname", "Watchdog")
				n.take([]rules.Alert{a}, at)
			}
			n.flush(at)
			total += len(drain(n, 0))
		}
		return total
	}
	if got := beats(0, 600, true); got < 9 || got > 11 {
		t.Errorf("%d beats in ten minutes: want 10", got)
	}
	beats(600, 600+int(silent.Seconds())+60, false)
	if got := beats(600+int(silent.Seconds())+60, 3000, false); got != 0 {
		t.Errorf("%d beats after the watchdog is dead", got)
	}
}

func TestSilencedAlertsAreNotTold(t *testing.T) {
	n := webhooks(t)
	equal := false
	if _, err := n.cfg.Silences.Set(Silence{Matchers: []Matcher{{Name: "slo", Value: "a|b", IsRegex: true}, {Name: "severity", Value: "ticket", IsEqual: &equal}},
		StartsAt: now, EndsAt: now.Add(30 * time.Second)}, now); err != nil {
		t.Fatal(err)
	}
	tell := func(s int) {
		at := now.Add(time.Duration(s) * time.Second)
		n.take([]rules.Alert{alert(rules.Firing, "severity", "page", "slo", "a")}, at)
		n.flush(at)
	}
	for s := range 30 {
		tell(s)
	}
	if got := drain(n, 0); got != nil {
		t.Errorf("told %q while it was silenced", got)
	}
	for s := 30; s < 100; s++ {
		tell(s)
	}
	if got := drain(n, 0); len(got) != 1 {
		t.Errorf("told %q after the silence: want one message", got)
	}
}

func TestWebhookPayload(t *testing.T) {
	m := &message{alerts: []rules.Alert{alert(rules.Firing, "slo", "a", "i", "1"), alert(rules.Inactive, "slo", "a", "i", "2")},
		group: labels.FromStrings("slo", "a"), receiver: "oncall", key: "k", external: "http://banyan"}
	data, err := json.Marshal(m.webhook())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":"4","groupKey":"k","truncatedAlerts":0,"status":"firing","receiver":"oncall","groupLabels":{"slo":"a"},"commonLabels":{"alertname":"Burn","slo":"a"},` +
		`"commonAnnotations":{"summary":"it burns"},"externalURL":"http://banyan","alerts":[{"status":"firing","labels":{"alertname":"Burn","i":"1","slo":"a"},` +
		`"annotations":{"summary":"it burns"},"startsAt":"2023-11-14T22:13:20Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://banyan/api/v1/query?query=x+%3E+1","fingerprint":"`
	if !strings.HasPrefix(string(data), want) {
		t.Errorf("got\n%s\nwant\n%s...", data, want)
	}
}

// What an Alertmanager is sent, and that one that fails is asked again.
func TestAlertmanager(t *testing.T) {
	bodies := make(chan string, 10)
	failures := 1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failures > 0 {
			failures--
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		body, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + string(body)
	}))
	defer server.Close()
	n := notifier(t, Config{Alertmanagers: []string{server.URL + "/"}, Labels: map[string]string{"system": "shop"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.Tell([]rules.Alert{alert(rules.Firing, "slo", "a"), alert(rules.Inactive, "slo", "b")})
	select {
	case got := <-bodies:
		for _, want := range []string{"/api/v2/alerts ", `"labels":{"alertname":"Burn","slo":"a","system":"shop"}`, `"startsAt":"2023-11-14T22:13:20Z"`, `"endsAt":"2023-11-14T22:13:20Z"`} {
			if !strings.Contains(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing came")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestMailText(t *testing.T) {
	a := alert(rules.Firing, "slo", "a")
	a.Annotations = labels.FromStrings("summary", "evil\r\nBcc: everyone@example.com\r\n.\r\nüml")
	text, err := mailText("banyan@example.com", []string{"a@example.com", "b@example.com"}, &message{alerts: []rules.Alert{a}, group: labels.FromStrings("slo", "a\r\nBcc: x@example.com"), external: "http://b"}, now)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("To") != "a@example.com, b@example.com" {
		t.Errorf("headers %v", m.Header)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "[1 firing] a Bcc: x@example.com" {
		t.Errorf("subject %q, %v", subject, err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || !strings.Contains(string(body), "FIRING since 2023-11-14T22:12:20Z: Burn") || !strings.Contains(string(body), "üml") {
		t.Errorf("body %q, %v", body, err)
	}
}

// A mail goes through a server that speaks SMTP.
func TestMailIsDelivered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got <- speakSMTP(conn)
	}()
	s := &SMTP{Address: l.Addr().String(), From: "banyan@example.com"}
	if err := s.deliver(t.Context(), []string{"a@example.com"}, []byte("Subject: x\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(<-got, "\n")
	for _, want := range []string{"MAIL FROM:<banyan@example.com>", "RCPT TO:<a@example.com>", "hello"} {
		if !strings.Contains(lines, want) {
			t.Errorf("the server heard %q: want %s", lines, want)
		}
	}
}

// speakSMTP is a server for one mail; it returns what it heard.
func speakSMTP(conn net.Conn) (heard []string) {
	fmt.Fprint(conn, "220 test\r\n")
	data := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		heard = append(heard, line)
		switch {
		case data && line == ".":
			data = false
			fmt.Fprint(conn, "250 taken\r\n")
		case data:
		case line == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
		case line == "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return heard
		default:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
	return heard
}

func TestSilences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "silences.json")
	s, err := OpenSilences(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]Silence{
		"nothing":     {StartsAt: now, EndsAt: now.Add(time.Hour)},
		"all":         {Matchers: []Matcher{{Name: "a", Value: ".*", IsRegex: true}}, StartsAt: now, EndsAt: now.Add(time.Hour)},
		"over before": {Matchers: []Matcher{{Name: "a", Value: "b"}}, StartsAt: now, EndsAt: now.Add(-time.Hour)},
		"no regex":    {Matchers: []Matcher{{Name: "a", Value: "(", IsRegex: true}}, StartsAt: now, EndsAt: now.Add(time.Hour)},
		"no such id":  {ID: "x", Matchers: []Matcher{{Name: "a", Value: "b"}}, StartsAt: now, EndsAt: now.Add(time.Hour)},
	} {
		if _, err := s.Set(bad, now); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	id, err := s.Set(Silence{Matchers: []Matcher{{Name: "slo", Value: "a"}}, StartsAt: now.Add(-time.Hour), EndsAt: now.Add(time.Hour), CreatedBy: "me"}, now)
	if err != nil {
		t.Fatal(err)
	}
	// It outlives the process.
	if s, err = OpenSilences(path); err != nil {
		t.Fatal(err)
	}
	l := labels.FromStrings("slo", "a", "x", "y")
	if got := s.By(l, now); !slices.Equal(got, []string{id}) {
		t.Errorf("silenced by %v", got)
	}
	if got := s.By(labels.FromStrings("slo", "b"), now); got != nil {
		t.Errorf("another is silenced by %v", got)
	}
	if got := s.By(l, now.Add(2*time.Hour)); got != nil {
		t.Errorf("silenced after its end by %v", got)
	}
	if err := s.Expire(id, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := s.By(l, now.Add(2*time.Minute)); got != nil {
		t.Errorf("silenced after it was ended by %v", got)
	}
	if err := s.Expire("x", now); err == nil {
		t.Error("one that there is not was ended")
	}
}

// The part of Alertmanager's API that amtool and Grafana use.
func TestAlertmanagerAPI(t *testing.T) {
	n := webhooks(t)
	mux := http.NewServeMux()
	n.Mount(mux, func() []rules.Alert {
		return []rules.Alert{alert(rules.Firing, "slo", "a", "severity", "page"), alert(rules.Pending, "slo", "b")}
	})
	call := func(method, path, kind, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	silence := fmt.Sprintf(`{"matchers":[{"name":"slo","value":"a","isRegex":false}],"startsAt":%q,"endsAt":%q,"createdBy":"me","comment":"c"}`,
		time.Now().Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339))
	if code, _ := call("POST", "/api/v2/silences", "text/plain", silence); code != http.StatusUnsupportedMediaType {
		t.Errorf("a body that any web page could send was taken: %d", code)
	}
	code, body := call("POST", "/api/v2/silences", "application/json", silence)
	var answer struct{ SilenceID string }
	if err := json.Unmarshal([]byte(body), &answer); code != 200 || err != nil || answer.SilenceID == "" {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := call("GET", "/api/v2/alerts", "", ""); code != 200 || !strings.Contains(body, `"state":"suppressed"`) || strings.Contains(body, `"slo":"b"`) || !strings.Contains(body, `"name":"oncall"`) {
		t.Errorf("%d %s", code, body)
	}
	for path, want := range map[string]bool{"?silenced=false": false, "?receiver=oncall": true, "?receiver=tea.": false, `?filter=slo%3D"a"&filter=severity%3D~"p.*"`: true, "?filter=slo!%3Da": false, "?active=false": true} {
		if code, body := call("GET", "/api/v2/alerts"+path, "", ""); code != 200 || strings.Contains(body, `"slo":"a"`) != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"?filter=slo", `?filter=slo%3D~"("`, `?filter=slo%3D"`, "?receiver=("} {
		if code, body := call("GET", "/api/v2/alerts/groups"+path, "", ""); code != 400 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	var groups []gettableGroup
	if code, body := call("GET", "/api/v2/alerts/groups", "", ""); code != 200 || json.Unmarshal([]byte(body), &groups) != nil ||
		len(groups) != 1 || groups[0].Receiver.Name != "oncall" || groups[0].Labels.String() != `{slo="a"}` || len(groups[0].Alerts) != 1 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := call("GET", "/api/v2/receivers", "", ""); code != 200 || body != `[{"name":"oncall"},{"name":"team"}]` {
		t.Errorf("%d %s", code, body)
	}
	if code, body := call("GET", "/api/v2/silences?filter=slo%3Db", "", ""); code != 200 || body != "[]" {
		t.Errorf("%d %s", code, body)
	}
	if code, body := call("GET", "/api/v2/silences", "", ""); code != 200 || !strings.Contains(body, `"status":{"state":"active"}`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := call("DELETE", "/api/v2/silence/"+answer.SilenceID, "", ""); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := call("GET", "/api/v2/silence/"+answer.SilenceID, "", ""); code != 200 || !strings.Contains(body, "expired") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := call("GET", "/api/v2/silence/none", "", ""); code != http.StatusNotFound {
		t.Errorf("%d", code)
	}
	if code, _ := call("POST", "/api/v2/silences", "application/json", "{"); code != http.StatusBadRequest {
		t.Errorf("%d", code)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no way":      {Receivers: []Receiver{{Name: "a"}}},
		"no server":   {Receivers: []Receiver{{Name: "a", Mail: []string{"a@example.com"}}}},
		"twice":       {Receivers: []Receiver{{Name: "a", Webhook: "http://a"}, {Name: "a", Webhook: "http://a"}}},
		"no receiver": {Routes: []Route{{Receiver: "a"}}},
		"no selector": {Receivers: []Receiver{{Name: "a", Webhook: "http://a"}}, Routes: []Route{{Receiver: "a", Match: "{"}}},
		"no URL":      {Alertmanagers: []string{"127.0.0.1:9093"}},
		"no address":  {Receivers: []Receiver{{Name: "a", Mail: []string{"nobody"}}}, SMTP: &SMTP{Address: "a:25", From: "b@example.com"}},
	} {
		var err error
		if cfg.Silences, err = OpenSilences(""); err != nil {
			t.Fatal(err)
		}
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// A destination that does not answer holds nobody up, and the newest stay.
func TestQueueIsBounded(t *testing.T) {
	d := &destination{queue: make(chan *message, 2)}
	for i := range 5 {
		d.put(&message{key: fmt.Sprint(i)})
	}
	if a, b := <-d.queue, <-d.queue; a.key != "3" || b.key != "4" || d.dropped.Load() != 3 {
		t.Errorf("left %s and %s, %d dropped", a.key, b.key, d.dropped.Load())
	}
}
