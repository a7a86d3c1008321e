package topology

import (
	"slices"
	"strings"
	"time"
)

// Saga is a workflow that outlives crashes: steps that are done one after the other, and that are undone in the opposite
// order when one of them fails for good (H. Garcia-Molina and K. Salem, Sagas, 1987).
type Saga struct {
	// On says what starts the saga, besides a POST to /sagas/NAME of the bus.
	On SagaTrigger `yaml:"on"`
	// Steps in their order. Texts in them may refer to what is known: ${id} of this run, ${input.FIELD} of what it was
	// started with, ${steps.NAME.FIELD} of what an earlier step was answered.
	Steps []*SagaStep `yaml:"steps" schema:"required,minItems=1,maxItems=100"`
	// Timeout of the whole. When it passes before the last step is done, what was done is undone.
	Timeout Duration `yaml:"timeout" schema:"default=1h,minimum=1ms,maximum=366d"`
	// Retain is how long a run that has ended is remembered, and with it the Idempotency-Key that it was started with.
	Retain Duration `yaml:"retain" schema:"default=24h,minimum=1s,maximum=366d"`
}

// complete fills in what an action is by default, where it is one.
func (a *SagaAction) complete() {
	if a.Call != "" && a.Method == "" {
		a.Method = "POST"
	}
	if a.Call != "" && a.Path == "" {
		a.Path = "/"
	}
	if a.Timeout == 0 {
		a.Timeout = Duration(10 * time.Second)
	}
}

// Calls are the services that the saga calls, each once.
func (s *Saga) Calls() (services []string) {
	add := func(a *SagaAction) {
		if a != nil && a.Call != "" && !slices.Contains(services, a.Call) {
			services = append(services, a.Call)
		}
	}
	for _, step := range s.Steps {
		add(&step.SagaAction)
		add(step.Compensate)
	}
	slices.Sort(services)
	return services
}

// UnmodelledSagas says in words what predictions leave out of the sagas; empty where there are none.
func (s *System) UnmodelledSagas() string {
	if len(s.Sagas) == 0 {
		return ""
	}
	return "sagas (" + strings.Join(sortedKeys(s.Sagas), ", ") + "): the calls, messages, retries and compensations of their steps are not modelled; " +
		"what they ask of services counts only where 'demands' or a calibration have it"
}

// SagaTrigger starts a saga for each message: one of its fields is set, or none.
type SagaTrigger struct {
	// Queue whose messages start it. A message is acknowledged when its run is on disk.
	Queue string `yaml:"queue" schema:"format=name"`
	// Topic whose events start it.
	Topic string `yaml:"topic" schema:"format=name"`
}

// SagaStep does one thing: it calls a service, sends a message, or waits for an event.
type SagaStep struct {
	// Name of the step, unique within the saga.
	Name string `yaml:"name" schema:"required,format=name"`
	// Action of the step.
	SagaAction `yaml:",inline"`
	// Wait for an event rather than do something.
	Wait *SagaWait `yaml:"wait"`
	// Pivot makes the step the point of no return: once it is done nothing is undone any more, by a failure, the time-out or a
	// person, and the steps after it are tried until they are done. Without a compensation it is tried until it is known whether
	// it was done. One step of a saga may be it.
	Pivot bool `yaml:"pivot"`
	// Compensate undoes the step, when a later one failed for good or when nobody knows whether this one was done. It
	// must be right to ask for it twice, and where there is nothing to undo.
	Compensate *SagaAction `yaml:"compensate"`
}

// SagaAction is a call of a service or a message. Every attempt has the same Idempotency-Key: the run's id and the step.
type SagaAction struct {
	// Call is the service that is called, through the gateway.
	Call string `yaml:"call" schema:"format=name"`
	// Method of the call. Left out: POST.
	Method string `yaml:"method" schema:"enum=GET|POST|PUT|PATCH|DELETE"`
	// Path of the call, with its query. Left out: /.
	Path string `yaml:"path" schema:"format=path,maxLength=2000"`
	// Headers of the call or the message.
	Headers map[string]string `yaml:"headers" schema:"maxLength=2000"`
	// JSON that is sent. A text that is one reference alone stands for the value itself. Left out: what the saga was started with.
	JSON any `yaml:"json"`
	// Accept are statuses besides 2xx that mean that it is done, such as 404 of a deletion.
	Accept []int `yaml:"accept" schema:"itemMinimum=300,itemMaximum=599,maxItems=20"`
	// Send is where a message is sent to rather than a service called: queues.NAME or topics.NAME.
	Send string `yaml:"send"`
	// Key of the message that is sent.
	Key string `yaml:"key" schema:"maxLength=256"`
	// Timeout of one attempt. Left out: 10s.
	Timeout Duration `yaml:"timeout" schema:"minimum=1ms,maximum=1h"`
	// Retry says how often it is tried, and how long is waited between. A status of 4xx ends it at once, but for 408, 425 and 429.
	Retry *SagaRetry `yaml:"retry"`
}

// SagaRetry is how an action is tried again.
type SagaRetry struct {
	// Attempts in all. Left out: 5 of a step, 50 of a compensation, any number of a pivot without one and of what follows a pivot.
	Attempts int `yaml:"attempts" schema:"minimum=0,maximum=100000,default=0"`
	// First wait.
	First Duration `yaml:"first" schema:"default=200ms,maximum=24h"`
	// Max is the longest wait.
	Max Duration `yaml:"max" schema:"default=30s,maximum=24h"`
	// Factor by which it grows.
	Factor float64 `yaml:"factor" schema:"default=2,minimum=1,maximum=100"`
	// Jitter is the share of the wait that is random.
	Jitter Percent `yaml:"jitter" schema:"default=50%,maximum=100%"`
}

// SagaWait is an event that a saga waits for. What comes with it is what the step was answered.
type SagaWait struct {
	// Signal of this name, by a POST to /runs/ID/signals/NAME of the bus or by 'banyan saga signal'. One that comes before
	// the saga waits for it is kept.
	Signal string `yaml:"signal" schema:"format=name"`
	// Topic whose event with the key is waited for: one that was published after the run was started.
	Topic string `yaml:"topic" schema:"format=name"`
	// Key of the event.
	Key string `yaml:"key" schema:"maxLength=256"`
	// Timeout after which the step has failed. Left out: that of the saga.
	Timeout Duration `yaml:"timeout" schema:"maximum=366d"`
}
