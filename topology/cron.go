package topology

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Cron is a set of minutes, as the five fields of a line of crontab name it (POSIX, crontab): minute, hour, day of the
// month, month, day of the week (0 and 7 are Sunday). Where both kinds of days are restricted, either is enough.
type Cron struct {
	minute, hour, day, month, weekday uint64 // a bit for each value
	anyDay, anyWeekday                bool
	wild                              bool // the minute or the hour begins with '*'
}

// maxCronSpan is how long before an instant Covers looks for a start.
const maxCronSpan = 31 * 24 * time.Hour

var monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseCron reads five fields: '*', numbers, ranges, steps and lists of these, and names of months and days of three
// letters.
func ParseCron(text string) (Cron, error) {
	f := strings.Fields(text)
	if len(f) != 5 {
		return Cron{}, fmt.Errorf("%d fields: want five, such as '30 8 * * mon-fri'", len(f))
	}
	var c Cron
	var err error
	for i, field := range []struct {
		into        *uint64
		least, most int
		names       []string
		what        string
	}{
		{&c.minute, 0, 59, nil, "minute"}, {&c.hour, 0, 23, nil, "hour"}, {&c.day, 1, 31, nil, "day of the month"},
		{&c.month, 1, 12, monthNames, "month"}, {&c.weekday, 0, 7, dayNames, "day of the week"},
	} {
		if *field.into, err = cronField(f[i], field.least, field.most, field.names); err != nil {
			return Cron{}, fmt.Errorf("%s: %w", field.what, err)
		}
	}
	c.anyDay, c.anyWeekday = strings.HasPrefix(f[2], "*"), strings.HasPrefix(f[4], "*")
	c.wild = strings.HasPrefix(f[0], "*") || strings.HasPrefix(f[1], "*")
	if c.weekday&(1<<7) != 0 {
		c.weekday |= 1
	}
	return c, nil
}

func cronField(text string, least, most int, names []string) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		span, step, stepped := strings.Cut(part, "/")
		every := 1
		if stepped {
			if every, err = strconv.Atoi(step); err != nil || every < 1 || every > most {
				return 0, fmt.Errorf("%q is no step", step)
			}
		}
		from, to := least, most
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			if from, err = cronValue(first, least, most, names); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if to, err = cronValue(last, least, most, names); err != nil {
					return 0, err
				}
			case !stepped:
				to = from
			}
		}
		if to < from {
			return 0, fmt.Errorf("%q goes backward", span)
		}
		for v := from; v <= to; v += every {
			set |= 1 << v
		}
	}
	return set, nil
}

func cronValue(text string, least, most int, names []string) (int, error) {
	for i, name := range names {
		if strings.EqualFold(text, name) {
			return least + i, nil
		}
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < least || v > most {
		return 0, fmt.Errorf("%q: want %d to %d", text, least, most)
	}
	return v, nil
}

// Covers says whether an instant lies within a span that begins at one of the minutes. The fields are of the instant's
// own time zone.
func (c Cron) Covers(at time.Time, span time.Duration) bool {
	span = min(span, maxCronSpan)
	for day := at; ; day = time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, day.Location()).Add(-time.Second) {
		if at.Sub(day) >= span {
			return false
		}
		if start, ok := c.lastOf(day); ok {
			return at.Sub(start) < span
		}
	}
}

// lastOf is the last minute of a day that is in the set, and not after the instant.
func (c Cron) lastOf(at time.Time) (time.Time, bool) {
	if !c.onDate(at) {
		return time.Time{}, false
	}
	for hour := at.Hour(); hour >= 0; hour-- {
		if c.hour&(1<<hour) == 0 {
			continue
		}
		minutes := c.minute
		if hour == at.Hour() {
			minutes &= 1<<(at.Minute()+1) - 1
		}
		if minutes != 0 {
			return time.Date(at.Year(), at.Month(), at.Day(), hour, bits.Len64(minutes)-1, 0, 0, at.Location()), true
		}
	}
	return time.Time{}, false
}

// onDate says whether the day of an instant is in the set.
func (c Cron) onDate(t time.Time) bool {
	day, weekday := c.day&(1<<t.Day()) != 0, c.weekday&(1<<uint(t.Weekday())) != 0
	if c.anyDay || c.anyWeekday {
		day = day && weekday
	} else {
		day = day || weekday
	}
	return day && c.month&(1<<uint(t.Month())) != 0
}
