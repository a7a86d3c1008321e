// Package app opens a topology as a running system: it builds each block from the file, joins them, starts them and
// stops them. It is the one place where blocks meet; none of them knows another.
//
// It also holds what the commands share around a run: the state directory's layout, the calibration file, the records
// of load tests, and the translation of what was observed into the planner's terms.
//
// App.Run owns every goroutine of the system and every replica; when it returns, all are gone.
package app
