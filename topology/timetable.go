package topology

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // so that zones are known where the machine has no database of them
)

// Timetable is a row of instants: those of a line of crontab in a time zone, or one every so often.
type Timetable struct {
	cron  Cron
	zone  *time.Location
	every time.Duration
}

const (
	// minEvery is the shortest interval of a timetable.
	minEvery = time.Second
	// everyPrefix begins an interval.
	everyPrefix = "@every "
	// maxCronYears is how far ahead an instant is looked for. Of what the calendar has, 29 February on a given day of the week
	// is the rarest: every 40 years at most.
	maxCronYears = 41
)

// nicknames of lines of crontab, as cron has them.
var nicknames = map[string]string{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}

// ParseTimetable reads five fields of crontab, one of cron's nicknames (@hourly, @daily, ...), or '@every' and a duration of
// at least a second. The zone is a name of the IANA database such as Europe/Berlin; empty stands for UTC. An interval knows
// no zone.
func ParseTimetable(text, zone string) (Timetable, error) {
	if rest, ok := strings.CutPrefix(text, everyPrefix); ok {
		d, err := ParseDuration(strings.TrimSpace(rest))
		if err != nil {
			return Timetable{}, fmt.Errorf("%q: expected a duration such as 10m", rest)
		}
		if d.Std() < minEvery || d.Std() > 366*24*time.Hour {
			return Timetable{}, fmt.Errorf("%q: expected %s to 366d", rest, minEvery)
		}
		return Timetable{every: d.Std()}, nil
	}
	if line, ok := nicknames[text]; ok {
		text = line
	}
	cron, err := ParseCron(text)
	if err != nil {
		return Timetable{}, err
	}
	location, err := parseZone(zone)
	if err != nil {
		return Timetable{}, err
	}
	t := Timetable{cron: cron, zone: location}
	if _, ok := t.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return Timetable{}, errors.New("no such day ever comes")
	}
	return t, nil
}

// parseZone finds a zone by name. Local is refused, for it means another thing on each machine.
func parseZone(name string) (*time.Location, error) {
	if name == "Local" || len(name) > 64 {
		return nil, fmt.Errorf("%.64q: expected a time zone such as Europe/Berlin or UTC", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not a known time zone: expected one such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

// Next is the first instant after the given one; ok is false if there is none. Of an interval, the given instant must be one
// of its own.
func (t Timetable) Next(after time.Time) (at time.Time, ok bool) {
	if t.every > 0 {
		return after.Add(t.every), true
	}
	return t.cron.next(after, t.zone)
}

// Latest is the last instant that is after the first given one and not after the second; ok is false if there is none. It
// takes time only for what it finds, however many there are between.
func (t Timetable) Latest(after, until time.Time) (at time.Time, ok bool) {
	if t.every > 0 {
		n := until.Sub(after) / t.every
		return after.Add(n * t.every), n > 0
	}
	// Looked for backward, a day more each time, so that a line that is due each minute does not take a year of minutes.
	for back := 24 * time.Hour; ; back *= 2 {
		from := until.Add(-back)
		if from.Before(after) {
			from = after
		}
		for next, found := t.Next(from); found && !next.After(until); next, found = t.Next(next) {
			at, ok = next, true
		}
		if ok || from.Equal(after) {
			return at, ok
		}
	}
}

// next is the first instant after the given one that the line names in a zone. As in Vixie's cron, a change of the clocks
// concerns lines that name hours and minutes: what it leaves out comes at the change, and what it repeats comes once. Lines whose
// hour or minute begins with '*' go by the clock as it is.
func (c Cron) next(after time.Time, zone *time.Location) (at time.Time, ok bool) {
	after = after.In(zone)
	year, month, day := after.Date()
	for range maxCronYears * 366 {
		// Noon is there on any day, and no change of the clocks makes it another day's.
		noon := time.Date(year, month, day, 12, 0, 0, 0, zone)
		if c.onDate(noon) {
			if at, ok := c.firstOf(noon, after); ok {
				return at, true
			}
		}
		year, month, day = noon.AddDate(0, 0, 1).Date()
	}
	return time.Time{}, false
}

// firstOf is the first instant of a day that is after the given one. It walks through the day's minutes as they really pass.
func (c Cron) firstOf(noon, after time.Time) (time.Time, bool) {
	t := dayBegin(noon)
	high := -1 // the latest minute that the clock has shown
	for ; t.Day() == noon.Day(); t = t.Add(time.Minute) {
		clock := t.Hour()*60 + t.Minute()
		due := c.onClock(clock)
		if !c.wild {
			due = due && clock > high
			for skipped := high + 1; skipped < clock; skipped++ {
				due = due || c.onClock(skipped)
			}
		}
		high = max(high, clock)
		if due && t.After(after) {
			return t, true
		}
	}
	return time.Time{}, false
}

// dayBegin is the first instant of a day, which is not always 00:00.
func dayBegin(noon time.Time) time.Time {
	t := time.Date(noon.Year(), noon.Month(), noon.Day(), 0, 0, 0, 0, noon.Location())
	for t.Day() != noon.Day() { // there was no midnight
		t = t.Add(time.Minute)
	}
	for before := t.Add(-time.Minute); before.Day() == noon.Day(); before = t.Add(-time.Minute) { // there were two
		t = before
	}
	return t
}

func (c Cron) onClock(minute int) bool {
	return c.hour&(1<<(minute/60)) != 0 && c.minute&(1<<(minute%60)) != 0
}
