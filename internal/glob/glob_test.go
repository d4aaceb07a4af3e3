package glob

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "any", true}, {"", "", true}, {"", "a", false}, {"a", "", false},
		{"sess:*", "sess:1", true}, {"sess:*", "ses:1", false}, {"*:1", "sess:1", true}, {"*:1", "sess:12", false},
		{"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a*b*c", "abbbcbc", true}, {"**", "x", true},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false},
		{"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false},
		{`h\?llo`, "h?llo", true}, {`h\?llo`, "hello", false}, {`[\]]`, "]", true}, {`\`, `\`, true},
		{"[a", "a", true}, {"[", "a", false}, {"[a-", "-", true}, {"[]", "a", false}, {"[^]", "a", true},
		{"a[b]", "a", false},
	} {
		require.Equal(t, c.want, Match(c.pattern, c.s), "%q with %q", c.pattern, c.s)
	}
}

// A pattern of many stars must not take exponential time.
func TestMatchIsNotSlowOnManyStars(t *testing.T) {
	require.False(t, Match(strings.Repeat("a*", 1000)+"b", strings.Repeat("a", 10000)))
}

func FuzzMatch(f *testing.F) {
	f.Add("a*[b-c]?", "axcz")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		Match(pattern, s) // must end and not fail
		if escaped := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(s); !Match(escaped, s) {
			t.Fatalf("%q does not match %q", escaped, s)
		}
		if !Match("*"+"*", s) {
			t.Fatal("two stars do not match all")
		}
	})
}
