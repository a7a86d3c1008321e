package syslog

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	for text, want := range map[string]Message{
		// The examples of RFC 5424, section 6.5.
		"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8": {
			Facility: 4, Severity: 2, Time: time.Date(2003, 10, 11, 22, 14, 15, 3e6, time.UTC), Host: "mymachine.example.com", App: "su", ID: "ID47", Text: "'su root' failed for lonvick on /dev/pts/8"},
		`<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\"lication" eventID="1011"][ex2 class="high"] An application`: {
			Facility: 20, Severity: 5, Time: time.Date(2003, 10, 11, 22, 14, 15, 3e6, time.UTC), Host: "mymachine.example.com", App: "evntslog", ID: "ID47",
			Data: []Pair{{"exampleSDID@32473.iut", "3"}, {"exampleSDID@32473.eventSource", `App"lication`}, {"exampleSDID@32473.eventID", "1011"}, {"ex2.class", "high"}}, Text: "An application"},
		"<13>1 - - - - - -": {Facility: 1, Severity: 5},
		// RFC 3164, section 5.4, and what is really sent.
		"<34>Oct 11 22:14:15 mymachine su: 'su root' failed": {Facility: 4, Severity: 2, Time: time.Date(2026, 10, 11, 22, 14, 15, 0, time.UTC), Host: "mymachine", App: "su", Text: "'su root' failed"},
		"<13>Feb  5 17:32:18 host cron[123]: started":        {Facility: 1, Severity: 5, Time: time.Date(2027, 2, 5, 17, 32, 18, 0, time.UTC), Host: "host", App: "cron", Process: "123", Text: "started"},
		"<13>Nov 29 12:00:00 app: no host":                   {Facility: 1, Severity: 5, Time: noon, App: "app", Text: "no host"},
		"<11>2026-11-29T12:00:00Z host app: iso":             {Facility: 1, Severity: 3, Time: noon, Host: "host", App: "app", Text: "iso"},
		"Use the BFG!":                                       {Facility: 1, Severity: 5, Text: "Use the BFG!"},
		"<999>x":                                             {Facility: 1, Severity: 5, Text: "<999>x"},
		"<13>1 broken":                                       {Facility: 1, Severity: 5, Text: "1 broken"},
		"":                                                   {Facility: 1, Severity: 5},
	} {
		if got := Parse(text, noon); !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`<165>1 2003-10-11T22:14:15.003Z h a p m [x y="z\]"] text`)
	f.Add("<34>Oct 11 22:14:15 mymachine su[1]: text")
	f.Fuzz(func(t *testing.T, s string) {
		m := Parse(s, noon)
		if m.Severity < 0 || m.Severity > 7 || m.Facility < 0 || m.Facility > 23 || len(m.Text) > len(s) {
			t.Fatalf("%q: %+v", s, m)
		}
		r := record(m, noon)
		if r.Stream == nil {
			t.Fatal("no stream")
		}
	})
}

func TestServer(t *testing.T) {
	l, err := logs.Open(logs.Config{Dir: "logs", FS: vfs.NewMem(), Now: func() time.Time { return noon }, Retain: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Listen(l, "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	keeping := make(chan error, 1)
	keep, stop := context.WithCancel(context.Background())
	go func() { keeping <- l.Run(keep) }()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	send := func(network, text string) {
		t.Helper()
		conn, err := net.Dial(network, s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("udp", "<11>Nov 29 12:00:00 h app: by udp\n")
	send("tcp", "<11>Nov 29 12:00:00 h app: line one\n<11>Nov 29 12:00:00 h app: line two\n")
	counted := func(text string) string { return fmt.Sprintf("%d %s", len(text), text) }
	send("tcp", counted("<12>1 - h app - - - counted\nwith a line end")+counted("<12>1 - h app - - - second"))
	send("tcp", "<11>Nov 29 12:00:00 h app: "+strings.Repeat("long ", 40000)+"\n<11>Nov 29 12:00:00 h app: behind the long one\n")
	send("tcp", "999999999999 x")
	want := []string{"by udp", "line one", "line two", "counted\nwith a line end", "second", "behind the long one"}
	for {
		changed := l.Store().Changed()
		records, _, err := l.Store().Search(t.Context(), segment.Query{Limit: 100, Filter: segment.Label(logs.LabelService, func(v string) bool { return v == "app" })})
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == len(want)+1 {
			found := map[string]bool{}
			for _, r := range records {
				found[r.Body] = true
				if level, _ := r.Field("level"); level != "error" && level != "warn" {
					t.Errorf("%s has level %q", r.Body, level)
				}
			}
			for _, w := range want {
				if !found[w] {
					t.Errorf("%q is missing", w)
				}
			}
			break
		}
		<-changed
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-keeping; err != nil {
		t.Error(err)
	}
}
