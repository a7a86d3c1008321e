package policy

import "fmt"

// Class says how much it matters that a request is answered. The classes are those of Netflix (Enhancing Netflix
// Reliability with Service-Level Prioritized Load Shedding, 2024).
type Class uint8

// The classes, from the one that is shed last. The zero Class is DegradedClass, the default.
const (
	DegradedClass   Class = iota // the user notices
	CriticalClass                // the user cannot go on
	BestEffortClass              // the user hardly notices
	BulkClass                    // nobody waits for it
)

var classNames = [...]string{DegradedClass: "degraded", CriticalClass: "critical", BestEffortClass: "best-effort", BulkClass: "bulk"}

// String returns the class as it is written in files and headers.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// ParseClass reads a class.
func ParseClass(text string) (c Class, ok bool) {
	for i, name := range classNames {
		if text == name {
			return Class(i), true
		}
	}
	return 0, false
}

// Below reports whether c is shed before d.
func (c Class) Below(d Class) bool { return c.shedFrom() < d.shedFrom() }

// shedWidth is the range of utilisation over which a class is shed more and more.
const shedWidth = 0.2

// shedFrom returns the utilisation from which on a class is shed.
func (c Class) shedFrom() float64 {
	switch c {
	case CriticalClass:
		return 1
	case DegradedClass:
		return 0.8
	case BestEffortClass:
		return 0.7
	}
	return 0.6
}

// Shed reports whether a request is refused at a utilisation: the share of what the service can hold that is in use.
// Nothing of a class is refused below its start, all of it at a fifth above, and in between a share that grows with the
// cube, so that it is gentle at first. Draw is from 0 to 1 and should be the same for all that belongs together, such as
// the calls of one request from outside: then whole requests are shed, and not one call of each (H. Zhou et al., Overload
// Control for Scaling WeChat Microservices, SoCC 2018, 4.2).
func Shed(c Class, utilization, draw float64) bool {
	from := c.shedFrom()
	if utilization <= from || c == CriticalClass {
		return false
	}
	x := min(1, (utilization-from)/shedWidth)
	return draw < x*x*x
}

// Draw returns the number for Shed that belongs to an id.
func Draw(id uint64) float64 { return fraction(mix(id + golden)) }
