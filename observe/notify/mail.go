package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// graphLink leads to the expression of an alert.
func graphLink(external, expr string) string {
	if external == "" {
		return ""
	}
	return strings.TrimSuffix(external, "/") + "/api/v1/query?query=" + url.QueryEscape(expr)
}

func (n *Notifier) toMail(to []string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error {
		text, err := mailText(n.cfg.SMTP.From, to, m, time.Now())
		if err != nil {
			return err
		}
		return n.cfg.SMTP.deliver(ctx, to, text)
	}
}

// deliver hands a mail to the server.
func (s *SMTP) deliver(ctx context.Context, to []string, text []byte) error {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", s.Address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	secure := &tls.Config{ServerName: host}
	if port == "465" {
		conn = tls.Client(conn, secure)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer c.Close()
	if ok, _ := c.Extension("STARTTLS"); ok && port != "465" {
		if err := c.StartTLS(secure); err != nil {
			return err
		}
	}
	if s.Username != "" {
		// PlainAuth refuses to speak without TLS but to this machine.
		if err := c.Auth(smtp.PlainAuth("", s.Username, s.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(s.From); err != nil {
		return err
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return fmt.Errorf("to %s: %w", a, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// oneLine keeps what alerts say out of the mail's headers.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "?")
}

// mailText writes a mail (RFC 5322) of plain text.
func mailText(from string, to []string, m *message, now time.Time) ([]byte, error) {
	firing := m.firing()
	subject := fmt.Sprintf("[%d firing] %s", firing, subjectOf(m))
	if firing == 0 {
		subject = "[resolved] " + subjectOf(m)
	}
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from}, {"To", strings.Join(to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", oneLine(subject))},
		{"Date", now.Format(time.RFC1123Z)}, {"Message-ID", "<" + rand.Text() + "@banyan>"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"}, {"Auto-Submitted", "auto-generated"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	for i, a := range m.alerts {
		if i == maxAlerts {
			fmt.Fprintf(w, "... and %d more\r\n", len(m.alerts)-i)
			break
		}
		writeAlert(w, a)
	}
	if m.external != "" {
		fmt.Fprintf(w, "%s\r\n", m.external)
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func subjectOf(m *message) string {
	var words []string
	m.group.Range(func(l labels.Label) { words = append(words, l.Value) })
	if len(words) == 0 {
		return "alerts"
	}
	return strings.Join(words, " ")
}

func writeAlert(w *quotedprintable.Writer, a rules.Alert) {
	state := strings.ToUpper(status(a.State == rules.Firing))
	fmt.Fprintf(w, "%s since %s: %s\r\n", state, a.Active.UTC().Format(time.RFC3339), a.Labels.Get(labels.AlertName))
	if !a.Resolved.IsZero() {
		fmt.Fprintf(w, "  ended %s\r\n", a.Resolved.UTC().Format(time.RFC3339))
	}
	a.Annotations.Range(func(l labels.Label) { fmt.Fprintf(w, "  %s: %s\r\n", l.Name, oneLine(l.Value)) })
	fmt.Fprintf(w, "  %s\r\n\r\n", a.Labels)
}
