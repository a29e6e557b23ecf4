//! The fields of a draft that clients write, and their limits.

/// Longest title in characters (Unicode scalar values).
pub(crate) const MAX_TITLE_CHARS: usize = 160;
/// Longest description in characters.
pub(crate) const MAX_DESCRIPTION_CHARS: usize = 4000;
/// Highest price. Up to here a 64-bit float has two exact decimals.
pub(crate) const MAX_PRICE: f64 = 999_999_999_999.99;

/// Why a value does not fit its field. The texts are public sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// The text has too many characters.
    #[error("The {field} is longer than {max} characters.")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The most characters.
        max: usize,
    },
    /// The text has a control character other than tab and line break.
    #[error("The {field} contains the control character U+{:04X}. Of these only tabs and line breaks are allowed.", u32::from(*.character))]
    Control {
        /// The field.
        field: &'static str,
        /// The first one.
        character: char,
    },
    /// The price is not one.
    #[error("The price is a number from 0 to {MAX_PRICE} with at most two decimals, or null.")]
    Price,
}

/// Checks a title.
///
/// # Errors
/// It is too long, or has control characters.
pub(crate) fn title(title: String) -> Result<String, FieldError> {
    text("title", title, MAX_TITLE_CHARS)
}

/// Checks a description.
///
/// # Errors
/// It is too long, or has control characters.
pub(crate) fn description(description: String) -> Result<String, FieldError> {
    text("description", description, MAX_DESCRIPTION_CHARS)
}

fn text(field: &'static str, text: String, max: usize) -> Result<String, FieldError> {
    if text.chars().count() > max {
        return Err(FieldError::TooLong { field, max });
    }
    // Text areas send tabs and line breaks. No form sends other control characters, and no database accepts U+0000.
    let is_refused = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match text.chars().find(is_refused) {
        Some(character) => Err(FieldError::Control { field, character }),
        None => Ok(text),
    }
}

/// Checks a price.
///
/// # Errors
/// It is negative, above [`MAX_PRICE`], or has more than two decimals.
pub(crate) fn price(price: f64) -> Result<f64, FieldError> {
    let is_whole_cents = (price * 100.0).round() / 100.0 == price;
    // Adding zero turns -0 into 0.
    if (0.0..=MAX_PRICE).contains(&price) && is_whole_cents {
        Ok(price + 0.0)
    } else {
        Err(FieldError::Price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn price_with_more_than_two_decimals_or_out_of_range_is_refused() {
        for good in [0.0, -0.0, 0.01, 0.29, 1.1, 12.5, 19.99, 1e6, MAX_PRICE] {
            assert_eq!(price(good), Ok(good), "{good}");
        }
        assert!(price(-0.0).unwrap().is_sign_positive());
        for bad in [-0.01, 0.001, 1.005, 12.345, 1e12, f64::MAX, f64::NAN, f64::INFINITY] {
            assert_eq!(price(bad), Err(FieldError::Price), "{bad}");
        }
    }

    #[test]
    fn text_is_counted_in_characters_and_has_no_controls() {
        assert!(title("🧥".repeat(MAX_TITLE_CHARS)).is_ok());
        let max = MAX_TITLE_CHARS;
        assert_eq!(title("a".repeat(max + 1)), Err(FieldError::TooLong { field: "title", max }));
        assert!(description("a\tb\r\nc".into()).is_ok());
        let refused = FieldError::Control { field: "description", character: '\0' };
        assert_eq!(description("a\0".into()), Err(refused));
    }

    proptest! {
        #[test]
        fn whole_cents_are_a_price(cents in 0u64..=99_999_999_999_999) {
            let text = format!("{}.{:02}", cents / 100, cents % 100);
            prop_assert!(price(text.parse().unwrap()).is_ok(), "{}", text);
        }
    }
}
