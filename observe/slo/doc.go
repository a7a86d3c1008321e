// Package slo turns the promises of a topology (slos:) into error budgets and alerts.
//
// A promise is a share of events that must be good within a window: requests that do not fail (availability), or requests
// that are answered within a time (each percentile of latency). What may be bad is the budget. The burn rate says how fast
// it is used: at 1 it lasts exactly for the window.
//
// Alerts follow the SRE workbook (sre.google/workbook/alerting-on-slos, 'multiwindow, multi-burn-rate alerts'): a page when
// 2 % of a month's budget are used within an hour (a rate of 14.4) or 5 % in six (6), a ticket at 10 % in a day (3) or in three
// days (1); each only while a window of a twelfth as long burns as fast too, so that an alert ends soon after its cause, and
// only with a least number of bad events, so that one failure in a quiet night wakes nobody.
//
// The package is a function of the topology: it gives rules in Prometheus's own format and the queries of the board. It
// reads no clock and starts no goroutine.
package slo
