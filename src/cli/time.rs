//! Times as people type them. How they are printed: `output::time`.

/// `2026-11-27 09:30` or `2026-11-27T09:30` (UTC), in milliseconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (hour, minute) = clock.split_once(':')?;
    let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 {
        return None;
    }
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let before = usize::try_from(month - 1).ok()?;
    if !(1..=*lengths.get(before)?).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = lengths.iter().take(before).sum();
    Some(((years + months + day - 1) * 86_400 + hour * 3600 + minute * 60) * 1000)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read() {
        assert_eq!(parse("1970-01-01 00:00"), Some(0));
        assert_eq!(parse("2026-11-27 09:30"), Some(1_795_771_800_000));
        assert_eq!(parse("2026-11-27T09:30"), Some(1_795_771_800_000));
        assert_eq!(parse("2024-02-29 00:00"), Some(1_709_164_800_000));
        for wrong in [
            "2026-02-29 00:00",
            "2026-13-01 00:00",
            "2026-01-01 24:00",
            "10.0.0.1",
            "none",
            "",
            "x-y-z a:b",
            "2026-11-27 09:30:00",
            "2200-01-01 00:00",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
