package topology

import (
	"strings"
	"testing"
	"time"
)

func TestTimetable(t *testing.T) {
	for _, c := range []struct {
		cron, zone, after string
		want              []string
	}{
		{"*/15 9-17 * * mon-fri", "UTC", "2026-11-27T17:40:00Z", []string{"2026-11-27T17:45:00Z", "2026-11-30T09:00:00Z"}},
		{"0 0 29 2 *", "", "2026-11-27T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"0 0 29 2 */7", "", "2001-11-27T00:00:00Z", []string{"2004-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"30 8 * * *", "Asia/Kolkata", "2026-11-27T03:00:00Z", []string{"2026-11-28T03:00:00Z"}},
		{"@weekly", "UTC", "2026-11-27T03:00:00Z", []string{"2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"}},
		{"@every 90s", "", "2026-11-27T03:00:10Z", []string{"2026-11-27T03:01:40Z", "2026-11-27T03:03:10Z"}},
		// Europe/Berlin, 29 March 2026: 02:00 is followed by 03:00 at 01:00 UTC.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"}},
		{"30 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}},
		{"*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-30T00:00:00Z"}},
		// 25 October 2026: 03:00 is followed by 02:00 at 01:00 UTC.
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		// Cairo, 24 April 2026 has no midnight; Havana, 1 November 2026 has two.
		{"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},
		{"0 0 * * *", "America/Havana", "2026-10-31T12:00:00Z", []string{"2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"}},
		{"15 10 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", []string{"2026-04-04T23:45:00Z"}}, // half an hour back
	} {
		table, err := ParseTimetable(c.cron, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.cron, err)
			continue
		}
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		begin := at
		for _, want := range c.want {
			next, ok := table.Next(at)
			if got := next.UTC().Format(time.RFC3339); !ok || got != want {
				t.Errorf("%s in %s after %s: %s, want %s", c.cron, c.zone, at.UTC().Format(time.RFC3339), got, want)
			}
			at = next
		}
		if latest, ok := table.Latest(begin, at.Add(time.Second/2)); !ok || !latest.Equal(at) {
			t.Errorf("%s in %s: the latest is %s, want %s", c.cron, c.zone, latest, at)
		}
	}
}

// A zone's instants, found one after the other, are those that a walk through all minutes of two years finds.
func TestTimetableAgainstAWalk(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	table, err := ParseTimetable("*/40 1-3 * 3,10 *", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	next, _ := table.Next(begin)
	for at := begin.Add(time.Minute); at.Year() < 2028; at = at.Add(time.Minute) {
		local := at.In(zone)
		month, hour := local.Month(), local.Hour()
		if (month != 3 && month != 10) || hour < 1 || hour > 3 || local.Minute()%40 != 0 {
			continue
		}
		if !next.Equal(at) {
			t.Fatalf("%s, want %s", next, local)
		}
		next, _ = table.Next(next)
	}
}

func TestLatestOfALongTime(t *testing.T) {
	begin := time.Date(1990, 1, 1, 0, 0, 30, 0, time.UTC)
	for _, c := range []struct{ cron, want string }{
		{"* * * * *", "2026-11-27T03:04:00Z"}, {"0 0 1 1 *", "2026-01-01T00:00:00Z"}, {"@every 7s", "2026-11-27T03:04:05Z"},
	} {
		table, err := ParseTimetable(c.cron, "")
		if err != nil {
			t.Fatal(err)
		}
		got, ok := table.Latest(begin, time.Date(2026, 11, 27, 3, 4, 10, 0, time.UTC))
		if !ok || got.UTC().Format(time.RFC3339) != c.want {
			t.Errorf("%s: %s, want %s", c.cron, got, c.want)
		}
		if got, ok := table.Latest(begin, begin.Add(time.Second)); ok {
			t.Errorf("%s: %s in a second without one", c.cron, got)
		}
	}
}

func TestTimetableRefuses(t *testing.T) {
	for _, c := range []struct{ cron, zone, want string }{
		{"", "", "five"}, {"0 0 31 feb *", "", "no such day"}, {"0 0 30 2 *", "UTC", "no such day"}, {"* * * * *", "Mars/Base", "not a known time zone"},
		{"* * * * *", "Local", "time zone"}, {"* * * * *", "../../etc/passwd", "time zone"}, {"@every 10ms", "", "1s to 366d"}, {"@every -1h", "", "duration"},
		{"@every", "", "five"}, {"@every soon", "", "duration"}, {"@reboot", "", "five"}, {"@every 9000d", "", "366d"},
	} {
		if _, err := ParseTimetable(c.cron, c.zone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: error %v, want one with %q", c.cron, c.zone, err, c.want)
		}
	}
}

func FuzzTimetable(f *testing.F) {
	f.Add("*/5 8-18 1,15 jan-mar mon", "Europe/Berlin", int64(1700000000))
	f.Add("@every 5m", "", int64(0))
	f.Fuzz(func(t *testing.T, text, zone string, at int64) {
		table, err := ParseTimetable(text, zone)
		if err != nil {
			return
		}
		after := time.Unix(at%1e10, 0)
		if next, ok := table.Next(after); ok && !next.After(after) {
			t.Fatalf("%s in %s: %s is not after %s", text, zone, next, after)
		}
	})
}
