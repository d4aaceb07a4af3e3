package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// commandLine is the grammar: one field a command, one field of it a flag.
type commandLine struct {
	Dev     devCommand     `cmd:"" help:"Run a cluster of real processes on this machine, to try things and break them."`
	Node    nodeCommand    `cmd:"" help:"Run one node: it holds sessions and serves them."`
	Router  routerCommand  `cmd:"" help:"Run one router: it pins each user of your application to a node."`
	Ring    ringCommand    `cmd:"" help:"Show who owns what, or who owns one key."`
	Status  statusCommand  `cmd:"" help:"Show members, sessions, and what is wrong: who is missing, what is lost, which copies are."`
	Forget  forgetCommand  `cmd:"" help:"Say that a member that died is not coming back, and that what was lost is known."`
	Drain   drainCommand   `cmd:"" help:"Make a node hand its sessions over and leave."`
	Import  importCommand  `cmd:"" help:"Move the keys of a running Redis into a cluster."`
	Dump    dumpCommand    `cmd:"" help:"Write all sessions of a cluster to a file."`
	Load    loadCommand    `cmd:"" help:"Write the sessions of such a file into a cluster that runs."`
	Bench   benchCommand   `cmd:"" help:"Put a cluster under load, and watch what its users get."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

const about = `Holdfast keeps user sessions in the memory of a cluster: each user is pinned to
one node, every change is copied to the next, and when a node dies its successor
already has the copy and goes on.`

// parse reads args into the flags of one command. It returns neither a context
// nor an error when help was asked for and has been printed.
func parse(args []string, s *streams) (*kong.Context, error) {
	helped := false
	parser, err := newParser(s.out, func(int) { helped = true })
	if err != nil {
		return nil, err
	}
	kctx, err := parser.Parse(normalize(args))
	if helped {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	return kctx, nil
}

func newParser(out io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(&commandLine{},
		kong.Name("holdfast"),
		kong.Description(about),
		kong.DefaultEnvars("HOLDFAST"),
		kong.Vars{"memory": defaultMemory()},
		kong.PostBuild(ignoreEmptyEnv),
		kong.Help(func(_ kong.HelpOptions, kctx *kong.Context) error {
			return printHelp(out, kctx.Model, kctx.Selected())
		}),
		kong.Writers(out, out),
		kong.Exit(exit),
	)
}

// ignoreEmptyEnv lets an empty variable, as compose files leave them, count as
// none.
func ignoreEmptyEnv(k *kong.Kong) error {
	return kong.Visit(k.Model.Node, func(v kong.Visitable, next kong.Next) error {
		if f, ok := v.(*kong.Flag); ok {
			f.Tag.Envs = slices.DeleteFunc(f.Tag.Envs, func(name string) bool {
				value, set := os.LookupEnv(name)
				return set && value == ""
			})
		}
		return next(nil)
	})
}

// printUsage prints what bare "holdfast" prints: the list of commands.
func printUsage(w io.Writer) {
	parser, err := newParser(w, func(int) {})
	if err == nil {
		err = printHelp(w, parser.Model, nil)
	}
	if err != nil {
		fmt.Fprintln(w, "holdfast:", err)
	}
}

// normalize gives single-dash long flags, which is how Go programs and our
// documentation write them, the two dashes that the parser knows. Nothing after
// a bare "--" is touched, nor are single letters and numbers. "help node" and
// "-version" mean what people expect of them.
func normalize(args []string) []string {
	switch args[0] {
	case "help":
		args = append(args[1:len(args):len(args)], "-h")
	case "-version", "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	out := make([]string, 0, len(args))
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if singleDash.MatchString(arg) {
			arg = "-" + arg
		}
		out = append(out, arg)
	}
	return out
}

var (
	singleDash  = regexp.MustCompile(`^-[a-zA-Z][^ ]`)
	flagValue   = regexp.MustCompile(`^--([a-z-]+): "`)
	flagNoValue = regexp.MustCompile(`^--([a-z-]+): expected .* value but got `)
	flagName    = regexp.MustCompile(`(^|[ "])--([a-z])`)
	secretEnv   = regexp.MustCompile(`\(from envar (HOLDFAST_UPSTREAM)=".*"\)`) // it may have a password in it
	unknownWord = regexp.MustCompile(`^unexpected argument ([^,]*)`)
)

var (
	meant     = regexp.MustCompile(`^(.*?)([^ "]+)("?), did you mean (?:one of )?(".*")\?$`)
	candidate = regexp.MustCompile(`"([^"]+)"`)
)

// nearOnly takes out suggestions that have nothing to do with the word. The
// parser suggests what differs in two letters, which in a word of four can be
// any; but hardly anybody mistypes the first.
func nearOnly(text string) string {
	parts := meant.FindStringSubmatch(text)
	if parts == nil {
		return text
	}
	first := (strings.TrimLeft(parts[2], "-") + " ")[:1] // a word may be nothing but dashes
	var near []string
	for _, c := range candidate.FindAllStringSubmatch(parts[4], -1) {
		if strings.HasPrefix(strings.TrimLeft(c[1], "-"), first) {
			near = append(near, c[0])
		}
	}
	text = parts[1] + parts[2] + parts[3]
	switch len(near) {
	case 0:
		return text
	case 1:
		return text + ", did you mean " + near[0] + "?"
	default:
		return text + ", did you mean one of " + strings.Join(near, ", ") + "?"
	}
}

// explain turns an error of the parser into one line in our spelling.
func explain(err error) error {
	usage := &usageError{command: "holdfast", text: err.Error()}
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context.Selected() != nil {
		usage.command += " " + parse.Context.Selected().Name
	}
	usage.text = secretEnv.ReplaceAllString(usage.text, "(from the environment: $1)")
	usage.text = strings.ReplaceAll(usage.text, "(from envar ", "(from the environment: ")
	switch {
	case flagNoValue.MatchString(usage.text):
		name := flagNoValue.FindStringSubmatch(usage.text)[1]
		usage.text = fmt.Sprintf("-%s needs a value; one that begins with a dash is given as -%s=VALUE", name, name)
	case flagValue.MatchString(usage.text): // our own types: `--copies: "0": must be …`
		usage.text = flagValue.ReplaceAllString(usage.text, `-$1 "`)
	case unknownWord.MatchString(usage.text) && usage.command == "holdfast":
		usage.text = unknownWord.ReplaceAllString(usage.text, `unknown command "$1"`)
	default:
		usage.text = flagName.ReplaceAllString(usage.text, "$1-$2")
	}
	usage.text = nearOnly(usage.text)
	const most = 1000 // bytes; a value may be a whole file by mistake
	if len(usage.text) > most {
		usage.text = strings.ToValidUTF8(usage.text[:most], "") + "…"
	}
	return usage
}
