// Package rules evaluates recording and alerting rules as Prometheus does: groups, one after the other within a group, at an
// interval; 'for', 'keep_firing_for', templates in labels and annotations; the series ALERTS and ALERTS_FOR_STATE, from
// which the time that an alert was pending for is restored after a restart.
//
// A Manager also replays rules on what is stored already (Replay): how often an alert would have fired, and when.
//
// What it never does: it sends nothing. A Manager hands every alert that is to be told of to the function in its Config.
//
// Manager.Run owns every goroutine. The evaluation of a group is a function of the store and an instant: tests and replays
// choose the instant.
package rules
