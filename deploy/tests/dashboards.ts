// What Grafana's own types say of our dashboards: `Checked` is the type of each. The test appends
// the dashboards and has the compiler look; a field that Grafana does not know is an error.
import { Dashboard, Panel, RowPanel, VariableModel } from '@grafana/schema';
import * as Series from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import * as Stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';

// JSON has the values of enumerations, not their names.
type Plain<T> = T extends string
    ? T | `${T}`
    : T extends number
      ? T | number
      : T extends boolean | null | undefined
        ? T
        : T extends Array<infer One>
          ? Plain<One>[]
          : T extends object
            ? { [Key in keyof T]: Plain<T[Key]> }
            : T;

// The package has no types of Prometheus' queries and of what an interval variable has.
type Query = {
    refId: string;
    expr: string;
    legendFormat?: string;
    instant?: boolean;
    range?: boolean;
    format?: 'time_series' | 'table' | 'heatmap';
    datasource?: { type?: string; uid?: string };
};
type Variable = VariableModel & { auto?: boolean; auto_min?: string; auto_count?: number };

type SeriesPanel = Omit<Panel<Series.Options, Series.FieldConfig>, 'targets' | 'options' | 'type'> & {
    type: 'timeseries';
    options?: Partial<Series.Options>;
    targets?: Query[];
};
type StatPanel = Omit<Panel<Stat.Options>, 'targets' | 'options' | 'type'> & {
    type: 'stat';
    options?: Partial<Stat.Options>;
    targets?: Query[];
};
type Row = Omit<RowPanel, 'panels' | 'type'> & { type: 'row'; panels: (SeriesPanel | StatPanel)[] };
type Checked = Plain<
    Omit<Dashboard, 'panels' | 'templating'> & {
        templating?: { list?: Variable[] };
        panels: (SeriesPanel | StatPanel | Row)[];
    }
>;

