package main

import (
	"html/template"
	"strconv"
	"strings"
)

// The pictures of the products are drawn, not stored: a motif for each
// category, in the product's own colour, on a ground that varies with its
// number. In a motif, @a is the colour, @b its dark and @c its light shade, and
// @d an accent from across the colour wheel.
var motifs = map[string]string{
	"Lighting": `<path d="M100 0v62" stroke="@b" stroke-width="4"/><path d="M72 62h56l26 56H46z" fill="@a"/><path d="M46 118h108l34 82H12z" fill="#fff" opacity=".28"/><circle cx="100" cy="122" r="13" fill="@c"/>`,
	"Chairs":   `<path d="M66 40h68a8 8 0 0 1 8 8v62H58V48a8 8 0 0 1 8-8z" fill="@a"/><rect x="50" y="106" width="100" height="20" rx="8" fill="@d"/><path d="M60 126l-8 48M140 126l8 48M78 126l-3 40M122 126l3 40" stroke="@b" stroke-width="8" stroke-linecap="round"/>`,
	"Tables":   `<rect x="28" y="84" width="144" height="14" rx="6" fill="@a"/><path d="M44 98l-10 76M156 98l10 76" stroke="@b" stroke-width="8" stroke-linecap="round"/><path d="M88 84c0-14-6-20-6-30h36c0 10-6 16-6 30z" fill="@d"/><path d="M100 54V30M100 42l12-10M100 40L90 28" stroke="@b" stroke-width="4" stroke-linecap="round"/>`,
	"Tea":      `<path d="M52 92h84v26a40 40 0 0 1-40 40h-4a40 40 0 0 1-40-40z" fill="@a"/><path d="M136 98h8a16 16 0 0 1 0 32h-9" fill="none" stroke="@a" stroke-width="9"/><ellipse cx="94" cy="92" rx="42" ry="9" fill="@d"/><path d="M80 74c-8-12 8-16 0-30M106 74c-8-12 8-16 0-30" fill="none" stroke="@c" stroke-width="5" stroke-linecap="round"/><path d="M46 168h96" stroke="@b" stroke-width="6" stroke-linecap="round"/>`,
	"Coffee":   `<path d="M72 40h50l-6 36h-38z" fill="@b"/><path d="M78 76h38l18 82a8 8 0 0 1-8 10H68a8 8 0 0 1-8-10z" fill="@a"/><path d="M122 50l30 12v44l-22-8" fill="none" stroke="@b" stroke-width="9" stroke-linejoin="round"/><path d="M67 128h60l7 34a6 6 0 0 1-6 6H66a6 6 0 0 1-6-6z" fill="@d"/><circle cx="97" cy="32" r="8" fill="@d"/>`,
	"Kitchen":  `<path d="M40 96h120v38a34 34 0 0 1-34 34H74a34 34 0 0 1-34-34z" fill="@a"/><rect x="30" y="86" width="140" height="14" rx="7" fill="@b"/><path d="M20 110h20M160 110h20" stroke="@b" stroke-width="9" stroke-linecap="round"/><path d="M60 86c0-22 18-34 40-34s40 12 40 34z" fill="@d"/><circle cx="100" cy="46" r="8" fill="@b"/>`,
	"Bedding":  `<rect x="26" y="60" width="148" height="46" rx="20" fill="#fff" opacity=".9"/><path d="M26 116c26-16 50 10 74 0s48-16 74 0v46a10 10 0 0 1-10 10H36a10 10 0 0 1-10-10z" fill="@a"/><path d="M26 138c26-14 50 10 74 0s48-14 74 0" fill="none" stroke="@b" stroke-width="4"/><path d="M60 74c10-6 22-6 30 0" fill="none" stroke="@d" stroke-width="5" stroke-linecap="round"/>`,
	"Garden":   `<path d="M62 116h76l-10 56H72z" fill="@a"/><rect x="54" y="104" width="92" height="16" rx="5" fill="@b"/><path d="M100 104V58" stroke="@d" stroke-width="6"/><path d="M100 78c-32 2-40-18-40-36 24 0 40 10 40 36zM100 66c26 0 36-16 36-34-22 0-36 10-36 34z" fill="@d"/>`,
	"Books":    `<rect x="46" y="126" width="112" height="30" rx="4" fill="@a"/><rect x="38" y="94" width="106" height="30" rx="4" fill="@d"/><rect x="52" y="62" width="98" height="30" rx="4" fill="@b"/><path d="M60 141h70M52 109h64M66 77h56" stroke="@c" stroke-width="4" stroke-linecap="round"/>`,
	"Bags":     `<path d="M72 74V60a28 28 0 0 1 56 0v14" fill="none" stroke="@b" stroke-width="9"/><path d="M48 74h104l12 86a10 10 0 0 1-10 12H46a10 10 0 0 1-10-12z" fill="@a"/><path d="M42 118h116l4 30H38z" fill="@d"/><circle cx="100" cy="118" r="8" fill="@c"/>`,
	"Toys":     `<rect x="38" y="112" width="58" height="58" rx="6" fill="@a"/><rect x="104" y="112" width="58" height="58" rx="6" fill="@d"/><path d="M100 36l36 66H64z" fill="@b"/><circle cx="67" cy="141" r="14" fill="@c"/><path d="M122 141h22M133 130v22" stroke="@c" stroke-width="7" stroke-linecap="round"/>`,
	"Music":    `<circle cx="100" cy="104" r="66" fill="@b"/><circle cx="100" cy="104" r="50" fill="none" stroke="@a" stroke-width="3"/><circle cx="100" cy="104" r="38" fill="none" stroke="@a" stroke-width="3"/><circle cx="100" cy="104" r="24" fill="@a"/><circle cx="100" cy="104" r="5" fill="@c"/><path d="M168 34l-22 60-18 14" fill="none" stroke="@d" stroke-width="7" stroke-linecap="round" stroke-linejoin="round"/>`,
}

// picture draws a product. It is decoration: the name stands beside it.
func picture(category string, hue, id int) template.HTML {
	motif, ok := motifs[category]
	if !ok {
		motif = `<rect x="50" y="60" width="100" height="100" rx="10" fill="@a"/>`
	}
	colour := func(turn int, rest string) string { return "hsl(" + strconv.Itoa((hue+turn)%360) + rest }
	light := colour(0, " 60% 93%)")
	var b strings.Builder
	b.Grow(1024)
	b.WriteString(`<svg viewBox="0 0 200 200" aria-hidden="true"><rect width="200" height="200" fill="`)
	b.WriteString(colour(20, " 42% 86%)"))
	b.WriteString(`"/><circle cx="`)
	b.WriteString(strconv.Itoa(20 + id*37%160))
	b.WriteString(`" cy="`)
	b.WriteString(strconv.Itoa(30 + id*53%140))
	b.WriteString(`" r="`)
	b.WriteString(strconv.Itoa(55 + id*29%40))
	b.WriteString(`" fill="` + light + `" opacity=".7"/>`)
	for {
		plain, rest, more := strings.Cut(motif, "@")
		b.WriteString(plain)
		if !more {
			break
		}
		switch rest[0] {
		case 'a':
			b.WriteString(colour(0, " 46% 46%)"))
		case 'b':
			b.WriteString(colour(0, " 40% 26%)"))
		case 'c':
			b.WriteString(light)
		case 'd':
			b.WriteString(colour(150, " 50% 56%)"))
		}
		motif = rest[1:]
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // made here of constants and numbers alone
}
