package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// scheduled opens a broker with one queue and one schedule.
func scheduled(t *testing.T, dir string, s Schedule, rules workqueue.Rules) *Broker {
	t.Helper()
	b, err := Open(Config{Dir: dir, SegmentBytes: 16 << 10, Queues: map[string]QueueConfig{"jobs": {Rules: rules, Schedules: map[string]Schedule{"tick": s}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fired takes what comes until an instant, and returns for which instants it was; it fails on what is early or late.
func firings(t *testing.T, b *Broker, until time.Time) (all []string) {
	t.Helper()
	for {
		ctx, cancel := context.WithDeadline(t.Context(), until)
		got, err := b.Receive(ctx, "jobs", "", 1)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return all
		}
		i := slices.IndexFunc(got[0].Headers, func(h Header) bool { return h.Name == headerScheduled })
		at, err := time.Parse(time.RFC3339, got[0].Headers[i].Value)
		if err != nil {
			t.Fatal(err)
		}
		if early := time.Until(at); early > 0 {
			t.Errorf("a message came %s before its time", early)
		}
		all = append(all, at.Format("15:04:05"))
		ack(t, b, got[0])
	}
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("fired for %v, want %v", got, want)
	}
}

// The bubble's clock begins at midnight UTC, 2000-01-01.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := scheduled(t, t.TempDir(), Schedule{Cron: "30 1,3 * * *", Zone: "Europe/Berlin", Message: Message{Body: []byte("x"), Key: "k", Headers: []Header{{"a", "b"}}}}, workqueue.Rules{})
		defer b.Close()
		s, _ := b.QueueStatus("jobs")
		if len(s.Schedules) != 1 || s.Schedules[0].Next.Sub(begin) != 30*time.Minute || s.Schedules[0].Last != nil {
			t.Errorf("status %+v", s.Schedules)
		}
		d := receive(t, b, "jobs")
		if late := time.Since(begin) - 30*time.Minute; late < 0 || late > 100*time.Millisecond {
			t.Errorf("it came %s late", late)
		}
		if string(d.Body) != "x" || d.Meta.Key != "k" || !slices.Equal(d.Headers, []Header{{"a", "b"}, {headerSchedule, "tick"}, {headerScheduled, "2000-01-01T00:30:00Z"}}) {
			t.Errorf("%s %v", d.Body, d.Headers)
		}
		ack(t, b, d)
		want(t, firings(t, b, begin.Add(25*time.Hour)), "02:30:00", "00:30:00")
		s, _ = b.QueueStatus("jobs")
		if got := s.Schedules[0]; got.Last == nil || got.Last.Sub(begin) != 24*time.Hour+30*time.Minute || got.Next.Sub(begin) != 26*time.Hour+30*time.Minute {
			t.Errorf("status %+v", got)
		}
	})
}

// copyDir is what a kill leaves: the files as they are.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	locks, _ := filepath.Glob(filepath.Join(to, "*lock*"))
	for _, l := range locks {
		os.Remove(l)
	}
	return to
}

// Killed at any moment about its firings, a schedule publishes each once: what the files had is taken up, on a copy.
func TestAScheduleIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		dir, s := t.TempDir(), Schedule{Cron: "@every 10s"}
		b := scheduled(t, dir, s, workqueue.Rules{AckWait: time.Hour})
		var all []string
		for i := range 12 {
			// The moments are before, at and after a firing, and after some that fell into the time without a process.
			until := begin.Add(time.Duration(i+1)*17*time.Second + []time.Duration{0, -time.Millisecond, time.Nanosecond}[i%3])
			all = append(all, firings(t, b, until)...)
			copied := copyDir(t, dir)
			b.Close()
			if i%2 == 0 {
				time.Sleep(12 * time.Second)
			}
			dir = copied
			b = scheduled(t, dir, s, workqueue.Rules{AckWait: time.Hour})
		}
		all = append(all, firings(t, b, begin.Add(5*time.Minute+time.Second))...)
		b.Close()
		var each []string
		for at := begin.Add(10 * time.Second); !at.After(begin.Add(5 * time.Minute)); at = at.Add(10 * time.Second) {
			each = append(each, at.UTC().Format("15:04:05"))
		}
		want(t, all, each...)
	})
}

func TestMissedFirings(t *testing.T) {
	for _, once := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			dir, s := t.TempDir(), Schedule{Cron: "*/20 * * * *", Once: once}
			b := scheduled(t, dir, s, workqueue.Rules{})
			want(t, firings(t, b, begin.Add(21*time.Minute)), "00:20:00")
			b.Close()
			time.Sleep(100 * time.Minute) // to 02:01
			b = scheduled(t, dir, s, workqueue.Rules{})
			got := firings(t, b, begin.Add(141*time.Minute))
			if once {
				want(t, got, "02:00:00", "02:20:00")
			} else {
				want(t, got, "02:20:00")
			}
			b.Close()
			time.Sleep(39*time.Minute + 30*time.Second) // to 03:00:30, which is not late enough to be missed
			b = scheduled(t, dir, s, workqueue.Rules{})
			got = firings(t, b, begin.Add(181*time.Minute))
			if once {
				want(t, got, "02:40:00", "03:00:00")
			} else {
				want(t, got, "03:00:00")
			}
			b.Close()
		})
	}
}

// A schedule that is changed begins anew, and so does one that was away; the journal keeps what it has come to when it is tidied.
func TestAScheduleChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, hourly := t.TempDir(), Schedule{Cron: "@hourly", Once: true}
		open := func(schedules map[string]Schedule) *Broker {
			b, err := Open(Config{Dir: dir, SegmentBytes: 4 << 10, Queues: map[string]QueueConfig{"jobs": {Schedules: schedules}}})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		begin := time.Now()
		b := open(map[string]Schedule{"tick": hourly})
		for range 200 {
			publish(t, b, "jobs", Message{Body: make([]byte, 500)})
			ack(t, b, receive(t, b, "jobs"))
		}
		want(t, firings(t, b, begin.Add(90*time.Minute)), "01:00:00")
		if n := b.Journal().Bytes; n > 64<<10 {
			t.Errorf("the journal has %d bytes", n)
		}
		b.Close()
		time.Sleep(2 * time.Hour)
		b = open(map[string]Schedule{"tick": hourly})
		want(t, firings(t, b, begin.Add(215*time.Minute)), "03:00:00")
		b.Close()
		b = open(nil)
		b.Close()
		time.Sleep(2 * time.Hour)
		b = open(map[string]Schedule{"tick": hourly})
		want(t, firings(t, b, begin.Add(365*time.Minute)), "06:00:00")
		b.Close()
		b = open(map[string]Schedule{"tick": {Cron: "30 * * * *", Once: true}})
		want(t, firings(t, b, begin.Add(395*time.Minute)), "06:30:00")
		b.Close()
	})
}

// What can't be stored is held back, and comes when it can: a full queue, then a full disk.
func TestAScheduleIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := scheduled(t, t.TempDir(), Schedule{Cron: "@every 30s"}, workqueue.Rules{MaxMessages: 1})
		time.Sleep(61 * time.Second)
		s, _ := b.QueueStatus("jobs")
		if got := s.Schedules[0]; !strings.Contains(got.Problem, "full") || got.Last.Sub(begin) != 30*time.Second {
			t.Errorf("status %+v", got)
		}
		want(t, firings(t, b, begin.Add(80*time.Second)), "00:00:30", "00:01:00")
		if s, _ = b.QueueStatus("jobs"); s.Schedules[0].Problem != "" {
			t.Errorf("status %+v", s.Schedules[0])
		}
		b.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var full atomic.Bool
		b, err := Open(Config{Dir: t.TempDir(), Queues: map[string]QueueConfig{"jobs": {Schedules: map[string]Schedule{"tick": {Cron: "@every 30s"}}}},
			OpenFile: func(path string) (journal.File, error) {
				f, err := journal.OpenFile(path)
				return fillingDisk{f, &full}, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		full.Store(true)
		time.Sleep(40 * time.Second)
		if s, _ := b.QueueStatus("jobs"); s.Schedules[0].Problem == "" || s.Ready != 0 {
			t.Errorf("status %+v", s)
		}
		full.Store(false)
		want(t, firings(t, b, begin.Add(75*time.Second)), "00:00:30", "00:01:00")
		b.Close()
	})
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for _, s := range []Schedule{{Cron: "soon"}, {Cron: "@daily", Zone: "Mars"}, {Cron: "@daily", Message: Message{ID: "x"}}, {Cron: "@daily", Message: Message{Priority: 99}}} {
		b, err := Open(Config{Dir: t.TempDir(), Queues: map[string]QueueConfig{"jobs": {Schedules: map[string]Schedule{"tick": s}}}})
		if err == nil {
			b.Close()
			t.Errorf("%+v is taken", s)
		} else if !strings.Contains(err.Error(), "queue jobs: schedule tick") && !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
