package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/session"
)

// noVersion stands for an entity tag that no session can have. It is not a
// version: as a stamp it would lie ten thousand years ahead, and the store
// refuses stamps of the future.
const noVersion = ^session.Stamp(0)

// etag writes a version as an entity tag: 16 hex digits in quotes.
func etag(version session.Stamp) string {
	const digits = "0123456789abcdef"
	var b [18]byte
	b[0], b[17] = '"', '"'
	for i := 16; i > 0; i-- {
		b[i] = digits[version&15]
		version >>= 4
	}
	return string(b[:])
}

// parseVersion reads what etag wrote, without the quotes. Any other text is a
// legal tag, though not one of ours: it is noVersion and matches nothing. So
// is zero, which to the store would mean that there is no condition.
func parseVersion(opaque string) session.Stamp {
	n, err := strconv.ParseUint(opaque, 16, 64)
	version := session.Stamp(n)
	if err != nil || version == 0 || etag(version) != `"`+opaque+`"` {
		return noVersion
	}
	return version
}

// condition is an If-Match or If-None-Match header.
type condition struct {
	given    bool
	any      bool            // "*"
	versions []session.Stamp // what it lists; not empty when given and not any
}

// matches says whether a session with this version is among those named.
func (c condition) matches(version session.Stamp) bool {
	return c.any || slices.Contains(c.versions, version)
}

// readCondition reads the header name. With weak comparison W/"x" equals "x";
// with strong comparison, the rule of If-Match, a weak tag equals nothing
// (RFC 9110, section 8.8.3.2).
func readCondition(h http.Header, name string, weak bool) (condition, error) {
	lines := h[name]
	if len(lines) == 0 {
		return condition{}, nil
	}
	c := condition{given: true}
	text := strings.Trim(strings.Join(lines, ","), " \t,")
	if text == "*" {
		c.any = true
		return c, nil
	}
	for text != "" {
		tag, rest, err := cutTag(text)
		if err != nil {
			return condition{}, badHeader(fmt.Sprintf("%s: %v; * or a list of quoted entity tags is accepted", name, err))
		}
		opaque, isWeak := strings.CutPrefix(tag, "W/")
		version := noVersion
		if weak || !isWeak {
			version = parseVersion(strings.Trim(opaque, `"`))
		}
		c.versions = append(c.versions, version)
		text = rest
	}
	if len(c.versions) == 0 {
		return condition{}, badHeader(name + " is empty; * or a list of quoted entity tags is accepted")
	}
	return c, nil
}

// cutTag takes the first tag off a list; rest begins with the next.
func cutTag(list string) (tag, rest string, err error) {
	open := 0
	if strings.HasPrefix(list, "W/") {
		open = 2
	}
	if open == len(list) || list[open] != '"' {
		return "", "", errors.New("a tag that does not begin with a quote")
	}
	length := strings.IndexByte(list[open+1:], '"')
	if length < 0 {
		return "", "", errors.New("a tag without its closing quote")
	}
	end := open + 1 + length + 1
	rest = strings.TrimLeft(list[end:], " \t")
	if rest != "" && rest[0] != ',' {
		return "", "", errors.New("two tags without a comma between them")
	}
	return list[:end], strings.TrimLeft(rest, " \t,"), nil
}

// conditions reads If-Match and, where the session may be created,
// If-None-Match: * into op.
func (e *exchange) conditions(op *session.Op, mayCreate bool) error {
	match, err := readCondition(e.r.Header, "If-Match", false)
	if err != nil {
		return err
	}
	none, err := readCondition(e.r.Header, "If-None-Match", true)
	if err != nil {
		return err
	}
	switch {
	case none.given && !mayCreate:
		return badHeader("If-None-Match is taken by GET and PUT of a session only")
	case none.given && !none.any:
		return badHeader("If-None-Match on PUT takes * only: create, never replace")
	case none.given && match.given:
		return badHeader("If-Match and If-None-Match: * cannot both hold")
	}
	op.Create, op.Exists = none.any, match.any
	switch len(match.versions) {
	case 0:
	case 1:
		op.IfVersion = match.versions[0]
	default:
		e.oneOf = match.versions
	}
	return nil
}

// noConditions refuses preconditions where nothing would check them.
func (e *exchange) noConditions() error {
	if len(e.r.Header["If-Match"])+len(e.r.Header["If-None-Match"]) > 0 {
		return badHeader("this request takes neither If-Match nor If-None-Match")
	}
	return nil
}
