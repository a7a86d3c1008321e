package topology

import (
	"strings"
	"testing"
	"time"
)

func TestCron(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse("2006-01-02 15:04:05", text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		cron string
		at   string // 2026-11-27 is a Friday
		span time.Duration
		want bool
	}{
		{"* * * * *", "2026-11-27 10:00:30", time.Minute, true},
		{"0 8 * * *", "2026-11-27 08:00:00", time.Hour, true},
		{"0 8 * * *", "2026-11-27 07:59:59", time.Hour, false},
		{"0 8 * * *", "2026-11-27 08:59:59", time.Hour, true},
		{"0 8 * * *", "2026-11-27 09:00:00", time.Hour, false},
		{"30 22 * * *", "2026-11-28 02:00:00", 8 * time.Hour, true}, // began the day before
		{"0 8 * * mon-fri", "2026-11-27 09:00:00", 10 * time.Hour, true},
		{"0 8 * * mon-fri", "2026-11-28 09:00:00", 10 * time.Hour, false},
		{"0 0 * * 7", "2026-11-29 01:00:00", 2 * time.Hour, true},
		{"0 0 29 * fri", "2026-11-27 01:00:00", 2 * time.Hour, true}, // either kind of day
		{"0 0 29 * *", "2026-11-27 01:00:00", 2 * time.Hour, false},
		{"*/15 9-17 * * *", "2026-11-27 17:46:00", 2 * time.Minute, true},
		{"*/15 9-17 * * *", "2026-11-27 17:48:00", 2 * time.Minute, false},
		{"0 0 1 jan *", "2026-01-20 00:00:00", 20 * 24 * time.Hour, true},
		{"5,35 * * * *", "2026-11-27 00:04:00", 30 * time.Minute, true}, // of 23:35
		{"0 0 31 feb *", "2026-11-27 00:00:00", 31 * 24 * time.Hour, false},
	} {
		cron, err := ParseCron(c.cron)
		if err != nil {
			t.Errorf("%s: %v", c.cron, err)
			continue
		}
		if got := cron.Covers(at(c.at), c.span); got != c.want {
			t.Errorf("%q for %v at %s: %v, want %v", c.cron, c.span, c.at, got, c.want)
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":              "five",
		"* * * *":       "five",
		"60 * * * *":    `minute: "60"`,
		"* 8-5 * * *":   "backward",
		"* * 0 * *":     "day of the month",
		"* * * foo *":   "month",
		"*/0 * * * *":   "step",
		"*/x * * * *":   "step",
		"1, * * * *":    "minute",
		"* * * * 8":     "day of the week",
		"1-2-3 * * * *": "minute",
	} {
		if _, err := ParseCron(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func FuzzCron(f *testing.F) {
	f.Add("*/5 8-18 1,15 jan-mar mon", int64(1700000000), int64(3600))
	f.Fuzz(func(t *testing.T, text string, at, span int64) {
		c, err := ParseCron(text)
		if err != nil {
			return
		}
		c.Covers(time.Unix(at%1e10, 0).UTC(), time.Duration(span))
	})
}
