// Package notify tells people of alerts: by Alertmanager (its API v2), by webhook (Alertmanager's payload, version 4), by
// mail; and to a heartbeat, which is called while the watchdog alert fires, so that a service outside notices when all this
// is dead. Silences mute alerts for a time; they are kept in a file.
//
// What it promises:
//   - Alerts of one group (by the labels of its Route) go out as one message, once when they begin and once when they end,
//     and again while they go on, at the Route's intervals.
//   - A receiver that does not answer delays no other: each has a worker and a bounded queue, and what was not delivered is
//     tried again, then counted as lost.
//   - Alertmanagers get every alert, silenced or not: they group, silence and repeat by their own rules.
//
// What it never does: it decides nothing about whether an alert fires.
//
// Notifier.Run owns every goroutine.
package notify
