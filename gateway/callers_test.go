package gateway

import (
	"fmt"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// What pushes to a service has a way to it of its own: topics whoever has their events, queues that run here.
func TestWhoPushesHasAWay(t *testing.T) {
	push := map[string]string{"web": "/events"}
	sys := &topology.System{Topics: map[string]*topology.Topic{"own": {Engine: "embedded", Push: push}, "far": {Engine: "kafka", Push: push}},
		Queues: map[string]*topology.Queue{"own": {Engine: "embedded", Push: push}, "far": {Engine: "nats", Push: push}}}
	if got := fmt.Sprint(callersOf(sys)); got != "map[queues.own:[web] topics.far:[web] topics.own:[web]]" {
		t.Error(got)
	}
}
