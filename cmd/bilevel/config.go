package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bilevel/internal/atomicfile"
	"bilevel/internal/nearest"
	"bilevel/internal/plainyaml"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFile is the name of the effective configuration beside results.
const configFile = "config.yaml"

// configFlags say where a configuration comes from and what becomes of an unfinished run.
type configFlags struct {
	config string
	print  bool
	resume string
	every  time.Duration
	show   string // the form of progress
	set    []string
	own    func() []string // names that --set takes beside the settings: an algorithm's own fields; may be nil
}

// notConfig are flags that belong to one call and not to a configuration.
var notConfig = []string{"memory", "out", "json", "quiet", "config", "print-config", "resume", "checkpoint-every",
	"progress", "help"}

// machineFlags say on what a run goes on, and may change when it does: a checkpoint of another device gives a warning.
var machineFlags = []string{"device", "threads"}

func (f *configFlags) registerConfig(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.config, "config", "", "read settings from this YAML file; flags override it")
	fs.StringArrayVar(&f.set, setFlag, nil,
		"NAME=VALUE: a setting by its name in a configuration file, or the algorithm's own; repeat it for more")
	fs.BoolVar(&f.print, "print-config", false, "print the configuration with comments and do nothing else")
	fs.StringVar(&f.resume, "resume", "", "go on with the unfinished run in this folder of results")
	fs.DurationVar(&f.every, "checkpoint-every", time.Minute, "time between two checkpoints")
	registerProgress(fs, &f.show)
}

func registerProgress(fs *pflag.FlagSet, show *string) {
	fs.StringVar(show, "progress", progressAuto,
		"auto (a bar on a terminal, plain lines elsewhere) | json (a JSON object a line)")
}

// checkPace refuses a time between checkpoints and a form of progress that there is not.
func checkPace(every time.Duration, show string) error {
	if every <= 0 {
		return usagef("--checkpoint-every %v: wants a positive time, such as 30s", every)
	}
	if show != progressAuto && show != progressJSON {
		return usagef("--progress %s: wants %s or %s", show, progressAuto, progressJSON)
	}
	return nil
}

// setFlag is the flag of settings by name; in a configuration it lists the algorithm's own.
const setFlag = "set"

// keyOf is a flag's name in a configuration, flagOf the reverse.
func keyOf(flag string) string { return strings.ReplaceAll(flag, "-", "_") }
func flagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

// load sets the flags that --set names, and those that the user did not give from --config or the folder of --resume.
func (f *configFlags) load(c *cobra.Command) error {
	if err := f.applySets(c); err != nil {
		return err
	}
	if err := checkPace(f.every, f.show); err != nil {
		return err
	}
	switch {
	case f.config != "" && f.resume != "":
		return usagef("--config and --resume: a run that goes on has its configuration in %s",
			filepath.Join(f.resume, configFile))
	case f.resume != "":
		if err := c.Flags().Set("out", f.resume); err != nil {
			return usageError{err}
		}
		path := filepath.Join(f.resume, configFile)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is no folder of results to go on with: %w", f.resume, err)
		}
		if err := f.apply(c, path, true); err != nil {
			return err
		}
	case f.config != "":
		if err := f.apply(c, f.config, false); err != nil {
			return err
		}
	}
	return f.applySets(c) // those of the file
}

// apply sets flags from a file. Where fixed, flags that were given must say the same.
func (f *configFlags) apply(c *cobra.Command, path string, fixed bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the configuration cannot be read: %w", err)
	}
	values, err := plainyaml.Parse(text)
	if err != nil {
		return usagef("%s is no YAML of names and values: %v", path, err)
	}
	for _, item := range values {
		key, value := fmt.Sprint(item.Key), item.Value
		if key == "command" {
			if value != words(c) {
				return usagef("%s is a configuration of `bilevel %v`, not of `bilevel %s`", path, value, words(c))
			}
			continue
		}
		flag := c.Flags().Lookup(flagOf(key))
		if flag != nil && flag.Changed && !slices.Contains(notConfig, flag.Name) {
			here, there := textsOfFlag(flag), textsOf(value)
			if fixed && !slices.Contains(machineFlags, flag.Name) && !slices.Equal(here, there) {
				return usagef(
					"--resume goes on with %s, where %s is %s and not %s: leave the flag out, or begin anew with --out",
					path, key, strings.Join(there, ", "), strings.Join(here, ", "))
			}
			continue
		}
		if err := f.assign(c, path, key, value); err != nil {
			return err
		}
	}
	return nil
}

// applySets gives each NAME=VALUE of --set to the flag of that setting. What is left is the algorithm's own.
func (f *configFlags) applySets(c *cobra.Command) error {
	given := f.set
	f.set = nil
	for _, s := range given {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return usagef("--set %s sets nothing: wants NAME=VALUE", s)
		}
		if flag := c.Flags().Lookup(flagOf(key)); flag != nil && flag.Changed && flag.Name != setFlag {
			return usagef("--set %s: %s is given twice", s, key)
		}
		if err := f.assign(c, "--set", key, value); err != nil {
			return err
		}
	}
	c.Flags().Lookup(setFlag).Changed = len(f.set) > 0 // else a file's settings of the algorithm stay
	return nil
}

// assign gives a setting its value; source is where it was read.
func (f *configFlags) assign(c *cobra.Command, source, key string, value any) error {
	flag := c.Flags().Lookup(flagOf(key))
	if flag == nil && f.own != nil && slices.Contains(f.own(), key) {
		f.set = append(f.set, key+"="+textOf(value))
		return nil
	}
	if flag == nil || slices.Contains(notConfig, flag.Name) {
		names := f.keys(c)
		if f.own != nil {
			names = append(names, f.own()...)
		}
		return usagef("%s: unknown setting %q%s", source, key, nearest.Hint(key, names))
	}
	if err := set(c, flag, value); err != nil {
		return usagef("%s: %s is %v: wants %s", source, key, value, kind(flag))
	}
	return nil
}

// set gives a flag one value, or each of a list, or NAME=VALUE of each of a table.
func set(c *cobra.Command, flag *pflag.Flag, value any) error {
	_, takesMany := flag.Value.(pflag.SliceValue)
	switch value.(type) {
	case []any, yaml.MapSlice:
		if !takesMany {
			return errors.New("one value is wanted")
		}
	}
	for _, text := range textsOf(value) {
		if err := c.Flags().Set(flag.Name, text); err != nil {
			return err
		}
	}
	return nil
}

// textsOf is a value as it is given to a flag: once, or once for each element of a list or line of a table.
func textsOf(value any) (texts []string) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			texts = append(texts, textOf(one))
		}
		return texts
	case yaml.MapSlice:
		for _, one := range v {
			texts = append(texts, textOf(one.Key)+"="+textOf(one.Value))
		}
		return texts
	}
	return []string{textOf(value)}
}

// textsOfFlag is what a flag was given, in the form of textsOf.
func textsOfFlag(flag *pflag.Flag) []string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{flag.Value.String()}
}

func textOf(value any) string { return fmt.Sprint(value) }

// keys lists the names that a configuration may have.
func (f *configFlags) keys(c *cobra.Command) (keys []string) {
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(notConfig, flag.Name) {
			keys = append(keys, keyOf(flag.Name))
		}
	})
	return keys
}

// text is the effective configuration: every setting with what it means, from the experiment's own configuration where
// it has the name, else from the flag. It is YAML that --config takes.
func (f *configFlags) text(c *cobra.Command, config any) ([]byte, error) {
	own, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(own, &values); err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, "# bilevel %s, version %s\ncommand: %s\n", words(c), versionText(), words(c))
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(notConfig, flag.Name) || flag.Name == setFlag && len(f.set) == 0 {
			return
		}
		value, ok := values[keyOf(flag.Name)]
		switch {
		case ok:
		case flag.Value.Type() == "stringArray":
			value = json.RawMessage("[]")
			if s, isSlice := flag.Value.(pflag.SliceValue); isSlice && len(s.GetSlice()) > 0 {
				value, err = json.Marshal(s.GetSlice())
			}
		case flag.Value.Type() == "string":
			value, err = json.Marshal(flag.Value.String())
		default:
			value = json.RawMessage(flag.Value.String())
		}
		line := "%s: %s"
		if isPositive(flag) && string(value) == "0" {
			line = "# %s: %s (left open: the run chooses)"
		}
		out = fmt.Appendf(out, "\n# %s\n"+line+"\n", flag.Usage, keyOf(flag.Name), value)
	})
	return out, err
}

// write puts the effective configuration beside the results.
func (f *configFlags) write(c *cobra.Command, dir string, config any) error {
	text, err := f.text(c, config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, configFile), text)
}
