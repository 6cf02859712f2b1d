//! Covering arrays: few rows in which every pair of values of any two columns occurs, and chosen triples too. What is
//! flawed is kept rare in a row, so that one flaw does not hide what another comes to.

/// A column: its name, and how many values it has.
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// The names of its values.
    pub values: Vec<String>,
    /// Which of them are flawed.
    pub flawed: Vec<bool>,
}

/// A row: for each column the number of a value.
pub type Row = Vec<usize>;

/// A value of a column.
pub type Cell = (usize, usize);

/// What rows are made by.
pub struct Plan<'a> {
    /// The columns.
    pub columns: &'a [Column],
    /// More that must occur together, beside all pairs.
    pub wanted: Vec<Vec<Cell>>,
    /// What a value needs to matter, where nothing else is asked for.
    pub needs: &'a dyn Fn(Cell) -> Vec<Cell>,
    /// Pairs that never occur.
    pub forbidden: &'a dyn Fn(Cell, Cell) -> bool,
    /// How many flaws a row may have beside what it is made for.
    pub flaws: usize,
}

/// A sequence of numbers by a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    /// The items in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

impl Plan<'_> {
    /// The rows.
    pub fn rows(&self, random: &mut Random) -> Vec<Row> {
        let mut wanted = self.pairs();
        random.shuffle(&mut wanted);
        wanted.splice(0..0, self.wanted.iter().cloned());
        let mut seen = Seen::new(self.columns);
        let mut rows: Vec<Row> = Vec::new();
        for cells in &wanted {
            let is_there = match cells.as_slice() {
                [one, other] => seen.has(*one, *other),
                _ => rows.iter().any(|row| cells.iter().all(|(column, value)| row[*column] == *value)),
            };
            if !is_there {
                let row = self.row(cells, &seen, random);
                seen.add(&row);
                rows.push(row);
            }
        }
        rows
    }

    /// A row for each of what is wanted, and no more.
    pub fn each(&self, random: &mut Random) -> Vec<Row> {
        let mut seen = Seen::new(self.columns);
        let mut rows = Vec::new();
        for cells in &self.wanted {
            let row = self.row(cells, &seen, random);
            seen.add(&row);
            rows.push(row);
        }
        rows
    }

    fn pairs(&self) -> Vec<Vec<Cell>> {
        let cells: Vec<Cell> = (0..).zip(self.columns).flat_map(|(at, column)| cells(at, column)).collect();
        let mut pairs = Vec::new();
        for (index, one) in cells.iter().enumerate() {
            for other in &cells[index + 1..] {
                if one.0 != other.0 && !(self.forbidden)(*one, *other) {
                    pairs.push(vec![*one, *other]);
                }
            }
        }
        pairs
    }

    /// A row with these values, and otherwise with what brings most that was not seen.
    fn row(&self, wanted: &[Cell], seen: &Seen, random: &mut Random) -> Row {
        let mut row: Vec<Option<usize>> = vec![None; self.columns.len()];
        for (column, value) in wanted {
            row[*column] = Some(*value);
        }
        for (column, value) in wanted.iter().flat_map(|cell| (self.needs)(*cell)) {
            if row[column].is_none() && self.fits(&row, (column, value)) {
                row[column] = Some(value);
            }
        }
        let mut order: Vec<usize> = (0..row.len()).filter(|column| row[*column].is_none()).collect();
        random.shuffle(&mut order);
        for column in order {
            let may_be_flawed = self.flaws_of(&row) < self.flaws;
            let mut values: Vec<usize> = (0..self.columns[column].values.len())
                .filter(|value| may_be_flawed || !self.columns[column].flawed[*value])
                .filter(|value| self.fits(&row, (column, *value)))
                .collect();
            random.shuffle(&mut values);
            let news = |value: &usize| {
                let others = row.iter().enumerate().filter_map(|(other, value)| Some((other, (*value)?)));
                others.filter(|other| !seen.has((column, *value), *other)).count()
            };
            let value = values.into_iter().max_by_key(news).expect("a value that fits");
            row[column] = Some(value);
            for (column, value) in (self.needs)((column, value)) {
                if row[column].is_none() && self.fits(&row, (column, value)) {
                    row[column] = Some(value);
                }
            }
        }
        row.into_iter().map(Option::unwrap).collect()
    }

    fn fits(&self, row: &[Option<usize>], cell: Cell) -> bool {
        let mut others = row.iter().enumerate().filter_map(|(other, value)| Some((other, (*value)?)));
        !others.any(|other| other.0 != cell.0 && (self.forbidden)(cell, other))
    }

    fn flaws_of(&self, row: &[Option<usize>]) -> usize {
        row.iter().zip(self.columns).filter(|(value, column)| value.is_some_and(|value| column.flawed[value])).count()
    }
}

/// All values of a column.
pub fn cells(at: usize, column: &Column) -> impl Iterator<Item = Cell> {
    (0..column.values.len()).map(move |value| (at, value))
}

/// The pairs that occurred.
struct Seen {
    offsets: Vec<usize>,
    total: usize,
    pairs: Vec<bool>,
}

impl Seen {
    fn new(columns: &[Column]) -> Self {
        let mut total = 0;
        let offsets = columns
            .iter()
            .map(|column| {
                total += column.values.len();
                total - column.values.len()
            })
            .collect();
        Self { offsets, total, pairs: vec![false; total * total] }
    }

    fn at(&self, one: Cell, other: Cell) -> usize {
        (self.offsets[one.0] + one.1) * self.total + self.offsets[other.0] + other.1
    }

    fn has(&self, one: Cell, other: Cell) -> bool {
        self.pairs[self.at(one, other)]
    }

    fn add(&mut self, row: &[usize]) {
        for one in row.iter().copied().enumerate() {
            for other in row.iter().copied().enumerate() {
                let at = self.at(one, other);
                self.pairs[at] = true;
            }
        }
    }
}
