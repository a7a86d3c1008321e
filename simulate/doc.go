// Package simulate replays a topology.System event by event, to see what it would do.
package simulate
