package topology

import "strings"

// Monitoring says what is kept of the metrics, and who is told of alerts.
type Monitoring struct {
	// Off keeps no metrics and evaluates no alerts; the page with the metrics is still there.
	Off bool `yaml:"off"`
	// Interval at which metrics are read: those of the gateway, caches and queues, and of every service with 'metrics'.
	Interval Duration `yaml:"interval" schema:"default=10s,minimum=1s,maximum=5m"`
	// Retention is how long they are kept.
	Retention Duration `yaml:"retention" schema:"default=35d,minimum=2h,maximum=3650d"`
	// Size that they may take on disk; the oldest go first.
	Size Bytes `yaml:"size" schema:"default=2GiB,minimum=64MiB,maximum=1PiB"`
	// SeriesPerTarget is how many series one page may have; further ones are refused, and named.
	SeriesPerTarget int `yaml:"series_per_target" schema:"default=100000,minimum=100,maximum=10000000"`
	// SeriesPerMetric is how many series of one name one page may have.
	SeriesPerMetric int `yaml:"series_per_metric" schema:"default=20000,minimum=100,maximum=10000000"`
	// Rules are files of recording and alerting rules in Prometheus's format, relative to the file; * stands for any name.
	Rules []string `yaml:"rules" schema:"maxItems=100"`
	// RemoteWrite sends all samples on to other systems that take Prometheus's remote write.
	RemoteWrite []RemoteWrite `yaml:"remote_write" schema:"maxItems=8"`
	// Alerts says who is told. Left out: alerts are shown, and nobody is told.
	Alerts Alerting `yaml:"alerts"`
}

// RemoteWrite is a system that samples are sent to.
type RemoteWrite struct {
	// URL that takes them, such as http://prometheus:9090/api/v1/write.
	URL string `yaml:"url" schema:"required,format=url"`
	// BearerEnv names the variable of Banyan's environment that holds a bearer token. Left out: none is sent.
	BearerEnv string `yaml:"bearer_env" schema:"maxLength=256"`
}

// Alerting says who is told of alerts.
type Alerting struct {
	// MinEvents is how many requests must have broken an SLO, at least, before an alert fires.
	MinEvents int `yaml:"min_events" schema:"default=10,minimum=1,maximum=1000000"`
	// Alertmanagers that are sent every alert, such as http://127.0.0.1:9093.
	Alertmanagers []string `yaml:"alertmanagers" schema:"maxItems=10"`
	// Receivers are people and programs that are told without an Alertmanager, by name.
	Receivers map[string]*AlertReceiver `yaml:"receivers" schema:"keys=name"`
	// Routes lead alerts to receivers; the first that matches an alert takes it. Left out: the first receiver by name gets all.
	Routes []AlertRoute `yaml:"routes" schema:"maxItems=100"`
	// SMTP is the server for mail.
	SMTP *SMTP `yaml:"smtp"`
	// Heartbeat is a URL that is called each minute while alerts are evaluated: a service that waits for it says when
	// everything here is dead.
	Heartbeat string `yaml:"heartbeat" schema:"format=url"`
}

// AlertReceiver is who is told, and how.
type AlertReceiver struct {
	// Webhook is a URL that is posted the payload of Alertmanager's webhooks, version 4.
	Webhook string `yaml:"webhook" schema:"format=url"`
	// Mail addresses.
	Mail Strings `yaml:"mail" schema:"maxItems=50"`
}

// AlertRoute leads alerts to a receiver.
type AlertRoute struct {
	// To is the receiver.
	To string `yaml:"to" schema:"required"`
	// Match is a selector of labels, such as {severity="page"}. Left out: all alerts match.
	Match string `yaml:"match" schema:"maxLength=4096"`
	// GroupBy are the labels whose alerts are told of together.
	GroupBy Strings `yaml:"group_by" schema:"maxItems=20"`
	// Wait for more alerts of a group before the first message.
	Wait Duration `yaml:"wait" schema:"default=10s,maximum=1h"`
	// Interval between messages of a group that changed.
	Interval Duration `yaml:"interval" schema:"default=1m,minimum=1s,maximum=24h"`
	// Repeat is after how long a group that goes on is told of again.
	Repeat Duration `yaml:"repeat" schema:"default=4h,minimum=1m,maximum=30d"`
	// Continue has the routes after this one look at the alert too.
	Continue bool `yaml:"continue"`
}

// SMTP is a mail server.
type SMTP struct {
	// Address of the server; TLS is spoken where it offers it, and from the start at port 465.
	Address string `yaml:"address" schema:"required,format=address"`
	// From is the address that mail comes from.
	From string `yaml:"from" schema:"required,maxLength=320"`
	// Username for the server. Left out: none is given.
	Username string `yaml:"username" schema:"maxLength=320"`
	// PasswordEnv names the variable of Banyan's environment that holds the password.
	PasswordEnv string `yaml:"password_env" schema:"maxLength=256"`
}

// monitoring checks who is told of alerts.
func (c *checker) monitoring() {
	a := &c.sys.Monitoring.Alerts
	s := c.spots[c.sys].child("monitoring").child("alerts")
	for _, name := range sortedKeys(a.Receivers) {
		r := a.Receivers[name]
		at := s.child("receivers").name(name)
		if r.Webhook == "" && len(r.Mail) == 0 {
			c.at(at, Problem{Message: "nothing says how it is told", Expected: "webhook: URL or mail: ADDRESS"})
		}
		if len(r.Mail) > 0 && a.SMTP == nil {
			c.at(at, Problem{Message: "there is no server for mail", Expected: "smtp: {address, from}"})
		}
	}
	for i, r := range a.Routes {
		if r.To != "" && a.Receivers[r.To] == nil {
			c.unknown(s.child("routes").item(i).child("to"), "receiver", r.To, func() []string { return sortedKeys(a.Receivers) })
		}
	}
	for i, u := range a.Alertmanagers {
		if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			c.at(s.child("alertmanagers").item(i), Problem{Found: quoteFound(u), Expected: "a URL such as http://127.0.0.1:9093"})
		}
	}
}
